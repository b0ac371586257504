-- Counts a batch that has no database behind it, in one round trip: a photo rises, counts, status and end follow from it,
-- the version rises, the hash is written, its life renewed, the change published. "declare" and "photo" may be repeated:
-- what has been counted is not counted again. "cancel" and "reopen" undo each other, whoever has called the other since.
-- Versions are times: microseconds since the batch was first declared, by the callers' clocks, and one more each time at
-- least. So where a failover loses positions, the next ones are greater, and who saw the lost ones does not drop them.
-- Like update.lua it decodes no JSON, touches no second key, and reads no clock. Of what stands in the hash it reads the
-- head of a photo's JSON, which it wrote itself: where somebody else wrote, `tracked` is not the position any more.
--
-- KEYS[1]   the batch's hash, batch:progress:ID
-- ARGV[1]   mode: "declare", "photo", "cancel" or "reopen"
-- ARGV[2]   now, in milliseconds since the Unix epoch, anew for each attempt: for the version, the message's `at`, and the
--           epoch that begins with it
-- ARGV[3]   updatedAt: the same for people, RFC 3339
-- ARGV[4]   channel to publish on
-- ARGV[5]   the batch's id
-- ARGV[6]   traceparent, or ""
-- declare:  ARGV[7] seconds to live, ARGV[8] owner or "" to keep the one stored, ARGV[9…] ids of photos
-- photo:    ARGV[7] id, ARGV[8] status (PROCESSING, FAILED or COMPLETED), ARGV[9] what its JSON has after the version:
--           "" or ,"result":JSON or ,"error":"WORDS" (with the comma before it), ARGV[10] of FAILED: the epoch in which the
--           work began, or "" or nothing
--
-- Returns {reply, replaced, head}: reply is counted; already or ended (nothing changed: it was so, or the batch has
-- ended); unknown, untracked, unknown-photo, too-many, too-large or last (nothing changed: it can't be). replaced is 1
-- when something that is no batch stood under the key and was overwritten. head: as it now stands, "" without one.

local key = KEYS[1]
local mode, now, updated_at, channel, batch, trace = ARGV[1], tonumber(ARGV[2]), unpack(ARGV, 3, 6)

-- The limits of PROTOCOL.md; the largest integer is the largest that a double holds with all before it.
local MAX_INTEGER, MAX_PHOTOS, MAX_STATE_BYTES, MAX_MESSAGE_BYTES = 9007199254740991, 10000, 4194304, 262144
-- A photo only rises.
local RANK = { QUEUED = 0, PROCESSING = 1, FAILED = 2, COMPLETED = 3 }
-- What a photo counts for beside its id and its tail, whatever its status and version: so a state that is full of results
-- can still come to its end.
local BARE_BYTES = #'{"photoId":"","status":"PROCESSING","version":9007199254740991}'
local PHOTO = '^{"photoId":"([%w_%-]+)","status":"(%u+)","version":%d+(.*)}$'

-- Lua writes large numbers as 1.795389030082e+12 by itself.
local function digits(number) return string.format('%.0f', number) end

-- What is stored: nothing, a batch that is counted here, or something else.
local held = {}
local kind = redis.call('TYPE', key)['ok']
if kind == 'hash' then
  held = redis.call('HMGET', key, 'epoch', 'version', 'tracked', 'head', 'status', 'queued', 'processing', 'completed',
    'failed', 'bytes', 'ttl', 'born')
end
local epoch, version, head = tonumber(held[1] or ''), tonumber(held[2] or ''), held[4] or ''
local stored = epoch and version
-- Of what is no batch nothing counts.
if not stored then held, head = {}, '' end
if stored and held[3] ~= held[1] .. '-' .. held[2] then return { 'untracked', 0, '' } end
if not stored and mode ~= 'declare' then return { kind == 'none' and 'unknown' or 'untracked', 0, '' } end

local status, bytes, ttl = held[5], tonumber(held[10] or 0), held[11]
local count = {
  QUEUED = tonumber(held[6] or 0),
  PROCESSING = tonumber(held[7] or 0),
  COMPLETED = tonumber(held[8] or 0),
  FAILED = tonumber(held[9] or 0),
}
local function total() return count.QUEUED + count.PROCESSING + count.COMPLETED + count.FAILED end
local function is_terminal() return status and status ~= 'QUEUED' and status ~= 'PROCESSING' end
local function unchanged(reply) return { reply, 0, head } end

-- When it was first declared, in milliseconds.
local born = stored and (tonumber(held[12] or '') or epoch) or now
local from = stored and version or 0
local to = math.max(from + 1, (now - born) * 1000)
local ended, owner = is_terminal(), ''
local fields, photos = {}, {}

local function put(id, new, tail)
  local json = '{"photoId":"' .. id .. '","status":"' .. new .. '","version":' .. digits(to) .. tail .. '}'
  count[new] = count[new] + 1
  photos[#photos + 1] = json
  fields[#fields + 1] = 'photo:' .. id
  fields[#fields + 1] = json
end

if mode == 'declare' then
  ttl, owner = ARGV[7], ARGV[8]
  local seen = {}
  -- unpack fails near 8,000 values.
  for first = 9, #ARGV, 1000 do
    local names = {}
    for i = first, math.min(first + 999, #ARGV) do names[#names + 1] = 'photo:' .. ARGV[i] end
    local known = stored and redis.call('HMGET', key, unpack(names)) or {}
    for i = 1, #names do
      local id = ARGV[first + i - 1]
      if not known[i] and not seen[id] then
        seen[id] = true
        bytes = bytes + BARE_BYTES + #id
        put(id, 'QUEUED', '')
      end
    end
  end
  if #photos == 0 then
    if not stored then return unchanged('unknown') end
    redis.call('HSET', key, 'ttl', ttl)
    if owner ~= '' then redis.call('HSET', key, 'owner', owner) end
    redis.call('EXPIRE', key, ttl)
    return unchanged('already')
  end
  if status == 'CANCELLED' then return unchanged('ended') end
  if total() > MAX_PHOTOS then return unchanged('too-many') end
  if bytes > MAX_STATE_BYTES then return unchanged('too-large') end
elseif mode == 'photo' then
  local id, new, tail, began = ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10] or '')
  local json = redis.call('HMGET', key, 'photo:' .. id)[1]
  if not json then return unchanged('unknown-photo') end
  local _, old, old_tail = string.match(json, PHOTO)
  if not RANK[old or ''] then return unchanged('untracked') end
  if RANK[new] <= RANK[old] then return unchanged('already') end
  if status == 'CANCELLED' then return unchanged('ended') end
  -- A reopen came between, and has queued it for others. Of work from before the first declaration that Redis knows
  -- nobody can say so: the batch was lost, and the work goes on.
  if new == 'FAILED' and began and born <= began and began < epoch then return unchanged('ended') end
  local growth = #tail - #old_tail
  if growth > 0 and bytes + growth > MAX_STATE_BYTES then return unchanged('too-large') end
  bytes = bytes + growth
  count[old] = count[old] - 1
  put(id, new, tail)
elseif mode == 'cancel' then
  if status == 'CANCELLED' then return unchanged('already') end
  if ended then return unchanged('ended') end
  status = 'CANCELLED'
elseif mode == 'reopen' then
  if not ended then return unchanged('already') end
  if count.COMPLETED == total() then return unchanged('ended') end
  status = nil
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local id, old, tail
    if string.sub(all[i], 1, 6) == 'photo:' then id, old, tail = string.match(all[i + 1], PHOTO) end
    if RANK[old or ''] and old ~= 'COMPLETED' then
      bytes = bytes - #tail
      count[old] = count[old] - 1
      put(id, 'QUEUED', '')
    end
  end
end

-- What has ended stays as it is within its epoch: whatever changes it opens the next one. Versions go on, so that no
-- photo is newer than its batch.
if ended then epoch = math.max(now, epoch + 1) end
if not stored then epoch = now end
if epoch > MAX_INTEGER or to > MAX_INTEGER then return unchanged('last') end

if status ~= 'CANCELLED' then
  if count.QUEUED == total() then status = 'QUEUED'
  elseif count.QUEUED + count.PROCESSING > 0 then status = 'PROCESSING'
  elseif count.FAILED == 0 then status = 'COMPLETED'
  elseif count.COMPLETED == 0 then status = 'FAILED'
  else status = 'PARTIAL' end
end
local progress = is_terminal() and 100 or math.floor(100 * (count.COMPLETED + count.FAILED) / total())

local position = digits(epoch) .. '-' .. digits(to)
local rest = string.format('"status":"%s","progress":%d,"counts":{"total":%d,"queued":%d,"processing":%d,"completed":%d,'
  .. '"failed":%d},"updatedAt":"%s"', status, progress, total(), count.QUEUED, count.PROCESSING, count.COMPLETED,
  count.FAILED, updated_at)
head = '{"v":1,"batchId":"' .. batch .. '","position":"' .. position .. '",' .. rest .. '}'

-- In a new epoch readers read the hash, whatever the message holds; the photos of a message from 0 would be all of them.
if ended then from, photos = 0, nil end
local message = '{"v":1,"type":"changes","batchId":"' .. batch .. '","epoch":' .. digits(epoch) .. ',"from":'
  .. digits(from) .. ',"to":' .. digits(to) .. ',"at":' .. digits(now)
if trace ~= '' then message = message .. ',"traceparent":"' .. trace .. '"' end
message = message .. ',' .. rest .. ',"photos":'
local whole = photos and message .. '[' .. table.concat(photos, ',') .. ']}'
if not whole or #whole > MAX_MESSAGE_BYTES then whole = message .. 'null}' end

local replaced = 0
if not stored and kind ~= 'none' then
  redis.call('DEL', key)
  replaced = 1
end
redis.call('HSET', key, 'epoch', digits(epoch), 'version', digits(to), 'ended', is_terminal() and '1' or '0', 'head', head,
  'tracked', position, 'status', status, 'queued', digits(count.QUEUED), 'processing', digits(count.PROCESSING),
  'completed', digits(count.COMPLETED), 'failed', digits(count.FAILED), 'bytes', digits(bytes), 'ttl', ttl,
  'born', digits(born))
if owner ~= '' then redis.call('HSET', key, 'owner', owner) end
for first = 1, #fields, 2000 do
  redis.call('HSET', key, unpack(fields, first, math.min(first + 1999, #fields)))
end
redis.call('EXPIRE', key, ttl)
redis.call('PUBLISH', channel, whole)
return { 'counted', replaced, head }
