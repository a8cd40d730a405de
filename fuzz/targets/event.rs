#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| refersion_relay_model::fuzzing::event(data));
