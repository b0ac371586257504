// Publishes a batch from start to end, as a photo worker in any language does: one script call a change.
// PROTOCOL.md describes the script's arguments and replies.
//
//   REDIS_URL=redis://localhost:6379 node examples/node/publish.mjs BATCH_ID [PHOTOS]

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import Redis from 'ioredis'

const [batchId = 'batch-from-node', total = 5] = process.argv.slice(2).map((a, i) => (i === 1 ? Number(a) : a))
const prefix = process.env.KEY_PREFIX ?? ''
const ttlSeconds = Number(process.env.STATE_TTL_SECS ?? 86_400)
const redis = new Redis(process.env.REDIS_URL ?? 'redis://localhost:6379')

// The script is called by its SHA. Redis forgets scripts when it restarts or fails over: then send it whole, once.
const script = readFileSync(new URL('../../wire/src/update.lua', import.meta.url), 'utf8')
const sha = createHash('sha1').update(script).digest('hex')
const call = (...args) =>
  redis.evalsha(sha, 1, ...args).catch((error) => {
    if (!error.message.startsWith('NOSCRIPT')) throw error
    return redis.eval(script, 1, ...args)
  })

// A position is epoch and version, both the application's own: the epoch is the batch's creation time, the version is
// raised by the transaction that changes the counts. A real worker reads all of this from its database.
const epoch = Date.now()
const photos = Array.from({ length: total }, (_, i) => ({ photoId: `photo-${i + 1}`, status: 'QUEUED', version: 1 }))
let version = 1
let acknowledged = 0 // The version that Redis is known to hold; 0: nothing.

function head() {
  const count = (status) => photos.filter((photo) => photo.status === status).length
  const counts = {
    total,
    queued: count('QUEUED'),
    processing: count('PROCESSING'),
    completed: count('COMPLETED'),
    failed: count('FAILED'),
  }
  const status = counts.completed === total ? 'COMPLETED' : version === 1 ? 'QUEUED' : 'PROCESSING'
  const progress = status === 'COMPLETED' ? 100 : Math.floor((100 * (counts.completed + counts.failed)) / total)
  return { status, progress, counts, updatedAt: new Date().toISOString() }
}

/** Sends the photos that changed after `from`; the whole state where `from` is 0, and when Redis asks for it. */
async function publish(from) {
  const changed = photos.filter((photo) => photo.version > from)
  const { status, progress, counts, updatedAt } = head()
  const fields = { status, progress, counts, updatedAt }
  const message = { v: 1, type: 'changes', batchId, epoch, from, to: version, at: Date.now(), ...fields, photos: changed }
  let json = JSON.stringify(message)
  // A message is at most 256 KiB. A nudge, without the photos, sends readers to the hash.
  if (Buffer.byteLength(json) > 256 * 1024) json = JSON.stringify({ ...message, photos: null })
  const [reply] = await call(
    `${prefix}batch:progress:${batchId}`,
    from === 0 ? 'full' : 'changes',
    ...[epoch, version, from, status === 'COMPLETED' ? 1 : 0, ttlSeconds],
    ...[`${prefix}batch:${batchId}`, json],
    JSON.stringify({ v: 1, batchId, position: `${epoch}-${version}`, ...fields }),
    '', // The owner: a user id of the application, never sent to a viewer. Empty keeps the one stored.
    ...changed.flatMap((photo) => [`photo:${photo.photoId}`, JSON.stringify(photo)]),
  )
  if (reply === 'needs-full') return publish(0) // Redis holds less than `from`, perhaps nothing: send everything.
  if (reply === 'finished') throw new Error('the batch has ended in this epoch: raise the epoch to re-open it')
  acknowledged = version // `applied`, or `stale`: Redis holds this position or a greater one.
  console.log(`${batchId} ${epoch}-${version} ${status} ${progress} % (${reply})`)
}

await publish(0)
for (const photo of photos) {
  for (const status of ['PROCESSING', 'COMPLETED']) {
    version += 1
    Object.assign(photo, { status, version }, status === 'COMPLETED' && { result: { width: 4032, height: 3024 } })
    await publish(acknowledged)
  }
}
await redis.quit()
