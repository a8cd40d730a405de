"""The worker's job with aio-pika and aiohttp: aio_pika_worker.py AMQP_URL QUEUE REFERSION_URL IN_FLIGHT"""

import asyncio
import json
import sys

import aio_pika
import aiohttp

KEYS = {"Refersion-Public-Key": "pub_1", "Refersion-Secret-Key": "sec_1"}


async def main(amqp_url: str, queue_name: str, refersion_url: str, in_flight: int) -> None:
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector, headers=KEYS) as http:
        connection = await aio_pika.connect(amqp_url)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=in_flight)
        queue = await channel.get_queue(queue_name)

        async def work(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            # Acknowledged when the block ends, given back when something is raised.
            async with message.process(requeue=True):
                traits = json.loads(message.body)["traits"]
                affiliate = {
                    "email": traits["email"],
                    "first_name": traits["firstName"],
                    "last_name": traits["lastName"],
                    "phone": traits["phone"],
                }
                async with http.post(f"{refersion_url}/affiliate/new", json=affiliate) as answer:
                    answer.raise_for_status()
                    await answer.json()

        await queue.consume(work)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
