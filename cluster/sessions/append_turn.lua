-- Appends a turn, if the session still has the etag that the turn was made from. All or nothing.
-- KEYS  1 meta, 2 contents, 3 media, 4 requests
-- ARGV  1 schema version, 2 etag, 3 request id, 4 variant, 5 most bytes, 6 number of contents,
--       then the packed contents, then digest and bytes of each media file
-- Returns {"OK", meta...}, {"NOT_FOUND"}, {"VERSION", version}, {"LOST"}, {"CONFLICT", etag} or {"TOO_LARGE", bytes, most}.
local meta = redis.call('HMGET', KEYS[1], 'v', 'etag', 'created_us', 'ttl_ms', 'turns', 'contents', 'bytes')
local version, etag, created, ttl_ms, turns, count, bytes = unpack(meta)
if not version then
  return {'NOT_FOUND'}
end
if version ~= ARGV[1] then
  return {'VERSION', version}
end

-- A request stored before answers what it answered then, whatever came after.
local stored = redis.call('HGET', KEYS[4], ARGV[3])
if stored then
  local reply = redis.call('HGETALL', KEYS[1])
  table.insert(reply, 1, 'OK')
  for _, item in ipairs(cmsgpack.unpack(stored)) do
    table.insert(reply, item) -- later fields win
  end
  return reply
end

if redis.call('LLEN', KEYS[2]) ~= tonumber(count) then
  return {'LOST'}
end
if etag ~= ARGV[2] then
  return {'CONFLICT', etag}
end

local first_media = 7 + tonumber(ARGV[6])
local size = tonumber(bytes)
for i = 7, first_media - 1 do
  size = size + #ARGV[i]
end
for i = first_media, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[3], ARGV[i]) == 0 then
    size = size + #ARGV[i + 1]
  end
end
if size > tonumber(ARGV[5]) then
  return {'TOO_LARGE', string.format('%.0f', size), ARGV[5]}
end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1e6 + tonumber(time[2])
local now = string.format('%.0f', now_us)
local expires_us = now_us + tonumber(ttl_ms) * 1e3
turns = tostring(tonumber(turns) + 1)
-- The creation time makes etags of a deleted session useless in one made later under the same id.
etag = string.sub(redis.sha1hex(created .. ':' .. turns .. ':' .. now), 1, 20)
for i = 7, first_media - 1 do
  redis.call('RPUSH', KEYS[2], ARGV[i])
end
for i = first_media, #ARGV, 2 do
  redis.call('HSETNX', KEYS[3], ARGV[i], ARGV[i + 1])
end
local result = {'etag', etag, 'updated_us', now, 'turns', turns, 'pin', ARGV[4], 'bytes', string.format('%.0f', size)}
redis.call('HSET', KEYS[4], ARGV[3], cmsgpack.pack(result))
redis.call('HSET', KEYS[1], 'contents', tostring(tonumber(count) + tonumber(ARGV[6])),
  'expires_us', string.format('%.0f', expires_us), unpack(result))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires_us / 1e3))
for i = 2, 4 do -- a minute longer than the meta, so that a session is never half there
  redis.call('PEXPIREAT', KEYS[i], string.format('%.0f', expires_us / 1e3 + 60000))
end
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, 'OK')
return reply
