-- Makes an empty session, unless the id is taken.
-- KEYS  1 meta, 2 contents, 3 media, 4 requests
-- ARGV  1 schema version, 2 ttl in ms, 3 variant pin or "", 4 serialised system instruction or "", 5 most bytes
-- Returns {"OK", meta...}, {"EXISTS"} or {"TOO_LARGE", bytes, most}.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'EXISTS'}
end
if #ARGV[4] > tonumber(ARGV[5]) then
  return {'TOO_LARGE', tostring(#ARGV[4]), ARGV[5]}
end
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1e6 + tonumber(time[2])
local expires_us = now_us + tonumber(ARGV[2]) * 1e3
local created = string.format('%.0f', now_us)
redis.call('HSET', KEYS[1],
  'v', ARGV[1], 'etag', string.sub(redis.sha1hex(created .. ':0'), 1, 20),
  'created_us', created, 'updated_us', created, 'expires_us', string.format('%.0f', expires_us),
  'ttl_ms', ARGV[2], 'turns', '0', 'contents', '0', 'bytes', tostring(#ARGV[4]),
  'pin', ARGV[3], 'system', ARGV[4])
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires_us / 1e3))
-- An expired session's other keys outlive its meta for a while.
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, 'OK')
return reply
