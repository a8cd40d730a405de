"""The worker's job with Celery and requests: celery_worker.py AMQP_URL QUEUE REFERSION_URL IN_FLIGHT"""

import sys
import threading

import requests
from celery import Celery
from kombu import Exchange, Queue

amqp_url, queue_name, refersion_url, in_flight = sys.argv[1:]

app = Celery("bench", broker=amqp_url)
app.conf.update(
    task_queues=[Queue(queue_name, Exchange(""), queue_name, queue_arguments={"x-queue-type": "quorum"})],
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=False,
)

# A session, and so a connection that is kept, for each thread.
local = threading.local()


def session() -> requests.Session:
    if not hasattr(local, "session"):
        local.session = requests.Session()
        local.session.headers.update({"Refersion-Public-Key": "pub_1", "Refersion-Secret-Key": "sec_1"})
        # What it calls is on this machine, whatever proxy the environment names.
        local.session.trust_env = False
    return local.session


@app.task(name="bench.create")
def create(event: dict) -> None:
    traits = event["traits"]
    affiliate = {
        "email": traits["email"],
        "first_name": traits["firstName"],
        "last_name": traits["lastName"],
        "phone": traits["phone"],
    }
    answer = session().post(f"{refersion_url}/affiliate/new", json=affiliate, timeout=30)
    answer.raise_for_status()
    answer.json()


if __name__ == "__main__":
    options = ["--pool", "threads", "--concurrency", in_flight, "--loglevel", "ERROR"]
    app.worker_main(["worker", *options, "--without-gossip", "--without-mingle", "--without-heartbeat"])
