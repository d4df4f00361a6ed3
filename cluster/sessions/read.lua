-- Reads a session's meta. With touch, it lives on for its whole ttl from now.
-- KEYS  1 meta, 2 contents, 3 media, 4 requests
-- ARGV  1 schema version, 2 "1" to touch
-- Returns {"OK", meta...}, {"NOT_FOUND"} or {"VERSION", version}.
local version = redis.call('HGET', KEYS[1], 'v')
if not version then
  return {'NOT_FOUND'}
end
if version ~= ARGV[1] then
  return {'VERSION', version}
end
if ARGV[2] == '1' then
  local time = redis.call('TIME')
  local now_us = tonumber(time[1]) * 1e6 + tonumber(time[2])
  local expires_us = now_us + tonumber(redis.call('HGET', KEYS[1], 'ttl_ms')) * 1e3
  redis.call('HSET', KEYS[1], 'expires_us', string.format('%.0f', expires_us))
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires_us / 1e3))
  for i = 2, 4 do -- a minute longer than the meta, so that a session is never half there
    redis.call('PEXPIREAT', KEYS[i], string.format('%.0f', expires_us / 1e3 + 60000))
  end
end
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, 'OK')
return reply
