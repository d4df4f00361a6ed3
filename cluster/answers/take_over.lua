-- Takes an unfinished answer whose owner is gone.
-- KEYS  1 meta, 2 chunks, 3 lease
-- ARGV  1 new owner, 2 lease in ms
-- Returns "OWNED" or "TAKEN".
if redis.call('HGET', KEYS[1], 'state') ~= 'open' then
  return 'TAKEN'
end
if not redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 'TAKEN'
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
return 'OWNED'
