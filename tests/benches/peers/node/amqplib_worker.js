// The worker's job with amqplib: amqplib_worker.js AMQP_URL QUEUE REFERSION_URL IN_FLIGHT
'use strict';

const amqplib = require('amqplib');
const refersion = require('./refersion');

async function main(amqpUrl, queue, refersionUrl, inFlight) {
  const create = refersion(refersionUrl, inFlight);
  const connection = await amqplib.connect(amqpUrl);
  const channel = await connection.createChannel();
  await channel.prefetch(inFlight);
  await channel.consume(queue, async (message) => {
    try {
      await create(JSON.parse(message.content.toString()));
      channel.ack(message);
    } catch (error) {
      console.error(error);
      channel.nack(message);
    }
  });
}

const [amqpUrl, queue, refersionUrl, inFlight] = process.argv.slice(2);
main(amqpUrl, queue, refersionUrl, Number(inFlight)).catch((error) => {
  console.error(error);
  process.exit(1);
});
