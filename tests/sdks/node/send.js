// Makes one of each call with Segment's library for Node, and prints what the library complains about.
//
// send.js LIBRARY HOST EMAIL [RETRIES]
const [library, host, email, maxRetries] = process.argv.slice(2)
const { Analytics } = require(library)

const analytics = new Analytics({ writeKey: 'write_1', host, ...(maxRetries && { maxRetries: Number(maxRetries) }) })
const complain = (complaint) => {
  console.error(complaint)
  process.exitCode = 1
}
analytics.on('error', complain)
const sent = (error) => error && complain(error)

const userId = 'user-1'
analytics.identify({ userId, traits: { email, firstName: 'Ada', lastName: 'Lovelace' } }, sent)
analytics.track({ userId, event: 'Signed Up', properties: { plan: 'partner' } }, sent)
analytics.page({ userId, category: 'docs', name: 'Home' }, sent)
analytics.screen({ userId, category: 'docs', name: 'Home' }, sent)
analytics.group({ userId, groupId: 'group-1', traits: { name: 'Analysts' } }, sent)
analytics.alias({ userId, previousId: 'anonymous-1' }, sent)
// By itself it gives up on its own waiting after a while.
analytics.closeAndFlush({ timeout: 60_000 }).catch(complain)
