// The worker's job with rascal, on top of amqplib: rascal_worker.js AMQP_URL QUEUE REFERSION_URL IN_FLIGHT
'use strict';

const { BrokerAsPromised } = require('rascal');
const refersion = require('./refersion');

async function main(amqpUrl, queue, refersionUrl, inFlight) {
  const create = refersion(refersionUrl, inFlight);
  const broker = await BrokerAsPromised.create({
    vhosts: {
      '/': {
        connection: { url: amqpUrl },
        queues: { [queue]: { options: { durable: true, arguments: { 'x-queue-type': 'quorum' } } } },
        subscriptions: { events: { queue, prefetch: inFlight } },
      },
    },
  });
  broker.on('error', (error) => console.error(error));
  const subscription = await broker.subscribe('events');
  subscription.on('error', (error) => console.error(error));
  subscription.on('message', async (message, event, ackOrNack) => {
    try {
      await create(event);
      ackOrNack();
    } catch (error) {
      ackOrNack(error, { strategy: 'nack', requeue: true });
    }
  });
}

const [amqpUrl, queue, refersionUrl, inFlight] = process.argv.slice(2);
main(amqpUrl, queue, refersionUrl, Number(inFlight)).catch((error) => {
  console.error(error);
  process.exit(1);
});
