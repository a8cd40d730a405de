// The same with the library that @segment/analytics-node replaces.
//
// send-deprecated.js LIBRARY HOST EMAIL [RETRIES]
const [library, host, email, retryCount] = process.argv.slice(2)
const Analytics = require(library)

const complain = (complaint) => {
  console.error(complaint)
  process.exitCode = 1
}
const analytics = new Analytics('write_1', {
  host,
  errorHandler: complain,
  ...(retryCount && { retryCount: Number(retryCount) })
})
const sent = (error) => error && complain(error)

const userId = 'user-1'
analytics.identify({ userId, traits: { email, firstName: 'Ada', lastName: 'Lovelace' } }, sent)
analytics.track({ userId, event: 'Signed Up', properties: { plan: 'partner' } }, sent)
analytics.page({ userId, category: 'docs', name: 'Home' }, sent)
analytics.screen({ userId, category: 'docs', name: 'Home' }, sent)
analytics.group({ userId, groupId: 'group-1', traits: { name: 'Analysts' } }, sent)
analytics.alias({ userId, previousId: 'anonymous-1' }, sent)
// The first call went off by itself, this sends the others.
analytics.flush()
