-- Writes what an answer's owner has new, and renews its lease or ends it.
-- KEYS  1 meta, 2 chunks, 3 lease
-- ARGV  1 owner, 2 lease in ms, 3 ms to keep, 4 "open", "released", "ended" or "failed", 5 first message to keep,
--       6 number of fields, then name and value of each, then for each chunk the index behind its last message, and it
-- Returns "OK", "GONE" when Redis has lost it, or "LOST" when another owns it now.
local owner, state, next_index = unpack(redis.call('HMGET', KEYS[1], 'owner', 'state', 'next'))
if not owner then
  return 'GONE'
end
if owner ~= ARGV[1] then
  return 'LOST'
end
if state ~= 'open' then
  return 'OK' -- all this was written before, and the reply was lost
end
local first_chunk = 7 + 2 * tonumber(ARGV[6])
for i = 7, first_chunk - 1, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
next_index = tonumber(next_index)
for i = first_chunk, #ARGV, 2 do
  if tonumber(ARGV[i]) > next_index then
    redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'c', ARGV[i + 1])
    next_index = tonumber(ARGV[i])
  end
end
redis.call('HSET', KEYS[1], 'next', string.format('%d', next_index), 'first', ARGV[5])
if ARGV[5] ~= '0' then
  redis.call('XTRIM', KEYS[2], 'MINID', string.format('%d-0', tonumber(ARGV[5]) + 1))
end
if ARGV[4] == 'open' then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[3])
end
if ARGV[4] == 'ended' or ARGV[4] == 'failed' then
  redis.call('HSET', KEYS[1], 'state', ARGV[4])
  redis.call('HDEL', KEYS[1], 'request', 'settled')
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 'OK'
