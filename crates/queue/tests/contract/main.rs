//! What every backend of the port promises, each promise once. A new backend implements [`backend::Backend`] and gets a
//! line in the macro below.
//!
//! RabbitMQ needs a broker and its half fails without one: `tests/run -p refersion-relay-queue`.

mod backend;

mod accounts;
mod conserving;
mod headers;
mod letters;
mod owning;
mod places;
mod publishing;
mod sweeping;
mod terms;

/// Each test once for each backend.
macro_rules! contract {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        contract!(@backend sqlite, refersion_relay_queue_testkit::sqlite::Embedded, $($($module $test),+),+);
        contract!(@backend rabbitmq, crate::backend::OnBroker, $($($module $test),+),+);
    };
    (@backend $name:ident, $backend:ty, $($module:ident $test:ident),+) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $test() {
                    crate::$module::$test::<$backend>().await;
                }
            )+
        }
    };
}

contract! {
    accounts:
        what_is_for_an_account_that_was_never_admitted_is_unrouted,
        what_comes_out_of_a_tier_for_such_an_account_is_unrouted_too,
        an_account_that_is_admitted_has_its_queue_from_then_on_in_every_process,
        a_work_queue_is_taken_up_as_soon_as_its_account_is_admitted,
        the_queue_names_the_account_whatever_an_event_says,
        an_owner_that_goes_is_not_noticed_by_those_of_other_accounts,
        an_account_that_leaves_keeps_what_waits_and_what_comes_and_goes_on_in_order,
        accounts_that_come_and_go_at_once_leave_the_others_alone;
    conserving:
        whatever_becomes_of_an_event_it_is_accounted_for,
        several_processes_are_counted_together;
    publishing:
        what_was_stored_is_there_for_somebody_else,
        what_was_stored_is_there_after_whoever_stored_it_went_away,
        the_events_of_one_subject_keep_the_order_of_their_batch,
        batches_that_follow_one_another_keep_their_order,
        a_refused_event_holds_back_the_later_ones_of_its_subject_and_nothing_else,
        results_come_in_the_order_of_the_batch,
        a_publish_of_nothing_has_no_results,
        a_publish_goes_on_when_its_caller_goes_away,
        many_who_publish_at_once_lose_nothing,
        many_who_publish_one_event_each_all_hear_of_their_own;
    owning:
        what_is_settled_is_gone_and_the_rest_comes_again_in_order,
        much_that_is_settled_just_before_a_place_is_given_up_does_not_come_again,
        what_is_settled_at_once_does_not_come_again_and_what_is_not_does,
        no_more_is_in_hand_than_there_is_room,
        the_second_owner_stands_by_until_the_first_gives_up,
        the_second_owner_of_one_process_stands_by_too,
        the_second_owner_takes_over_when_the_first_is_lost,
        an_owner_that_is_only_dropped_keeps_nothing,
        an_owner_that_stops_waiting_misses_nothing,
        a_place_is_given_up_while_its_events_are_on_their_way,
        nothing_is_settled_once_a_place_was_given_up,
        a_lost_term_settles_nothing,
        deliveries_that_were_not_settled_are_counted,
        what_is_given_back_a_hundred_times_is_not_used_up_and_keeps_its_order;
    places:
        every_place_is_one_of_its_own,
        later_is_not_before_its_delay_and_in_its_own_queue,
        equal_delays_keep_their_order,
        what_comes_later_comes_behind_what_is_there,
        nothing_is_published_to_the_intake_and_a_place_that_is_missing_is_empty,
        a_moved_event_is_at_its_new_place_only,
        a_move_that_is_not_answered_leaves_the_event_at_one_place,
        depths_add_up;
    headers:
        headers_survive_every_place,
        headers_survive_every_move,
        what_a_move_changes_is_changed_and_nothing_else,
        bodies_are_the_same_to_the_byte;
    letters:
        every_class_is_a_place_of_its_own,
        letters_that_are_looked_at_stay_in_order,
        a_look_ends_where_it_was_asked_to,
        two_who_look_at_once_both_see_everything,
        many_letters_stay_in_order_too,
        a_letter_keeps_its_id_wherever_it_lies;
    sweeping:
        a_sweep_shows_each_letter_once_and_does_what_it_is_told,
        letters_of_many_subjects_keep_their_order,
        letters_without_a_subject_and_of_other_accounts_pass_too,
        sweeps_and_looks_can_follow_one_another_at_once,
        a_sweep_of_nothing_ends,
        newcomers_are_left_alone,
        a_letter_can_move_to_another_class,
        a_sweep_that_is_stopped_leaves_everything_between_what_it_looked_at_and_what_it_did_not,
        a_judge_that_takes_its_time_holds_up_nothing_that_was_begun,
        a_fate_is_heard_once_it_is_durable,
        whoever_reads_after_a_reader_that_was_cut_off_sees_everything;
    terms:
        a_place_is_taken_up_again_after_its_term_was_lost,
        terms_end_when_they_are_told_to;
}
