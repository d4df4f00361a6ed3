-- Takes an answer that nobody has made yet, or that failed, for the one who asks.
-- KEYS  1 meta, 2 chunks, 3 lease
-- ARGV  1 schema version, 2 digest of the request, 3 owner, 4 lease in ms, 5 ms to keep, then name and value of each field
-- Returns "OWNED", "KEPT" when there is one, "OTHER" when it answers another request, or "VERSION".
local version, digest, state = unpack(redis.call('HMGET', KEYS[1], 'v', 'digest', 'state'))
if version then
  if version ~= ARGV[1] then
    return 'VERSION'
  end
  if digest ~= ARGV[2] then
    return 'OTHER'
  end
  if state ~= 'failed' then
    return 'KEPT'
  end
end
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'digest', ARGV[2], 'owner', ARGV[3],
  'state', 'open', 'first', '0', 'next', '0', unpack(ARGV, 6))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
return 'OWNED'
