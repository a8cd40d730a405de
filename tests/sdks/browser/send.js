// Makes one of each call with analytics.js in a browser, on a page of another origin than the relay's, and prints what
// the browser and the library complain about.
//
// send.js CHROMIUM LIBRARY HOST EMAIL single|batch
const fs = require('node:fs')
const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { chromium } = require('playwright-core')

const [executablePath, library, host, email, strategy] = process.argv.slice(2)
const bundles = path.join(process.env.NODE_PATH, library, 'dist', 'umd')
const calls = 6

const complain = (complaint) => {
  console.error(complaint)
  process.exitCode = 1
}

// The page, and the library's own bundles beside it.
const site = http.createServer((request, response) => {
  if (request.url === '/') {
    response.setHeader('content-type', 'text/html')
    return response.end('<!doctype html><title>A shop</title><link rel="icon" href="data:,"><script src="/index.js"></script>')
  }
  const file = path.join(bundles, path.basename(request.url))
  response.statusCode = fs.existsSync(file) ? 200 : 404
  response.setHeader('content-type', 'text/javascript')
  response.end(response.statusCode === 200 ? fs.readFileSync(file) : '')
})

/** Runs in the page. */
async function send({ host, email, strategy, calls }) {
  const { AnalyticsBrowser } = window.AnalyticsNext
  // What its CDN would say.
  const cdnSettings = { integrations: { 'Segment.io': { apiKey: 'write_1' } } }
  const batching = { deliveryStrategy: { strategy: 'batching', config: { size: calls } } }
  const segment = { apiHost: `${host}/v1`, protocol: 'http', ...(strategy === 'batch' && batching) }
  const [analytics] = await AnalyticsBrowser.load({ writeKey: 'write_1', cdnSettings }, { integrations: { 'Segment.io': segment } })
  const complaints = []
  analytics.on('error', (error) => complaints.push(`${error.code}: ${error.reason}`))
  const contexts = [
    await analytics.identify('user-1', { email, firstName: 'Ada', lastName: 'Lovelace' }),
    await analytics.track('Signed Up', { plan: 'partner' }),
    await analytics.page('docs', 'Home'),
    await analytics.screen('docs', 'Home'),
    await analytics.group('group-1', { name: 'Analysts' }),
    await analytics.alias('user-2')
  ]
  const failed = contexts.filter((context) => context.failedDelivery())
  return [...complaints, ...failed.map((context) => `${context.event.type} was not delivered`)]
}

async function main(profile) {
  await new Promise((listening) => site.listen(0, '127.0.0.1', listening))
  const origin = `http://127.0.0.1:${site.address().port}`
  const quiet = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  const browser = await chromium.launchPersistentContext(profile, { executablePath, args: ['--no-sandbox', ...quiet] })
  const page = await browser.newPage()
  page.on('pageerror', complain)
  page.on('console', (message) => {
    // The browser's own word on a 503, which is no fault of the page.
    const refused = message.text().includes('the server responded with a status of 503')
    if (['error', 'warning'].includes(message.type()) && !refused) complain(message.text())
  })
  // Old versions do not read an answer, and the browser may let go of one that nobody reads.
  const answered = new Set()
  page.on('response', (response) => answered.add(response.request()))
  page.on('requestfailed', (request) => {
    if (!answered.has(request)) complain(`${request.url()}: ${request.failure().errorText}`)
  })
  page.on('request', (request) => {
    if (![origin, `http://${host}`].includes(new URL(request.url()).origin)) complain(`it asked for ${request.url()}`)
  })
  let taken = 0
  const everything = page.waitForEvent('response', {
    predicate: (response) => {
      if (response.request().method() === 'POST' && response.status() === 200) taken += 1
      return taken === (strategy === 'batch' ? 1 : calls)
    },
    timeout: 60_000
  })
  await page.goto(origin)
  const [complaints] = await Promise.all([page.evaluate(send, { host, email, strategy, calls }), everything])
  complaints.forEach(complain)
  await browser.close()
}

const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'browser-'))
main(profile)
  .catch(complain)
  .finally(() => {
    fs.rmSync(profile, { recursive: true, force: true })
    site.close()
  })
