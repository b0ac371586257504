-- One update of a batch in one round trip: check, write, expire, publish.
-- Strings come in and are stored as they are; no JSON is decoded here (cjson turns [] into {} and rounds integers).
--
-- KEYS[1]   the batch's hash, batch:progress:ID
-- ARGV[1]   mode: "changes" (relative to `from`), "full" (everything), "fill" (everything, only where nothing is
--           stored, not announced) or "invalidate" (delete and announce; the rest but 7 and 8 is not looked at)
-- ARGV[2-4] epoch, version, from: whole numbers up to 2^53 - 1
-- ARGV[5]   "1" when the status is terminal
-- ARGV[6]   seconds to live
-- ARGV[7-8] channel, and the message to publish on it
-- ARGV[9]   head: the state without photos
-- ARGV[10]  owner, or "" to keep the one stored
-- ARGV[11…] field and value of each photo: photo:ID, JSON
--
-- Returns {reply, replaced}: reply is applied, stale, needs-full, finished, filled, present or invalidated; replaced is
-- 1 when something else stood under the key (a string of an older design, say) and was overwritten.

local key = KEYS[1]
local mode, epoch, version, from = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local ended, ttl, channel, message, head, owner = unpack(ARGV, 5, 10)

if mode == 'invalidate' then
  redis.call('DEL', key)
  redis.call('PUBLISH', channel, message)
  return { 'invalidated', 0 }
end

-- What is stored: nothing, a batch, or something that is not ours.
local stored_epoch, stored_version, stored_ended, stored_owner
local foreign = 0
local kind = redis.call('TYPE', key)['ok']
if kind == 'hash' then
  local stored = redis.call('HMGET', key, 'epoch', 'version', 'ended', 'owner')
  stored_epoch, stored_version = tonumber(stored[1] or ''), tonumber(stored[2] or '')
  stored_ended, stored_owner = stored[3], stored[4]
end
if not (stored_epoch and stored_version) then
  stored_epoch, stored_version = nil, nil
  if kind ~= 'none' then foreign = 1 end
end

-- Positions order everything: epoch first, then version; the greater wins.
if stored_epoch then
  if mode == 'fill' then return { 'present', 0 } end
  if stored_epoch > epoch or (stored_epoch == epoch and stored_version >= version) then return { 'stale', 0 } end
  if stored_epoch == epoch and stored_ended == '1' then return { 'finished', 0 } end
end
if mode == 'changes' and not (stored_epoch == epoch and from <= stored_version) then return { 'needs-full', 0 } end

-- A whole state replaces what is there, so that photos of an older epoch do not stay behind.
if mode ~= 'changes' then redis.call('DEL', key) end
if owner == '' then owner = stored_owner or '' end
redis.call('HSET', key, 'epoch', ARGV[2], 'version', ARGV[3], 'ended', ended, 'head', head)
if owner ~= '' then redis.call('HSET', key, 'owner', owner) end
-- unpack fails near 8,000 values: at most 1,000 fields a call.
for first = 11, #ARGV, 2000 do
  redis.call('HSET', key, unpack(ARGV, first, math.min(first + 1999, #ARGV)))
end
redis.call('EXPIRE', key, ttl)

if mode == 'fill' then return { 'filled', foreign } end
redis.call('PUBLISH', channel, message)
return { 'applied', foreign }
