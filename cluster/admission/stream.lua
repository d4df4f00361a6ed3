-- Counts one stream of a caller, and the tokens it takes. All or nothing.
-- KEYS  1 streams: a sorted set of leases by the ms in which they end, 2 budget: a hash
-- ARGV  1 lease, 2 ms the lease lives on (0 ends it), 3 tokens taken (less than 0 are given back), 4 tokens a minute
--       (0: not counted), 5 "start" to ask whether it may start, else "", 6 most streams (0: any number)
-- Returns {"OK"}, {"STREAMS"}, or {"TOKENS", ms until enough of them are there}.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease_ms, taken, per_minute = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local asks, most = ARGV[5] == 'start', tonumber(ARGV[6])

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if asks and most > 0 and redis.call('ZCARD', KEYS[1]) >= most then
  return {'STREAMS'}
end

if per_minute > 0 then
  local budget = redis.call('HMGET', KEYS[2], 'tokens', 'at')
  local tokens, at = tonumber(budget[1] or per_minute), tonumber(budget[2] or now)
  tokens = math.min(per_minute, tokens + math.max(0, now - at) * per_minute / 60000)
  local needed = math.min(taken, per_minute) -- what is larger than the budget starts when that is full
  if asks and (tokens < needed or tokens <= 0) then
    return {'TOKENS', math.ceil(math.max(1, needed - tokens) * 60000 / per_minute)}
  end
  tokens = math.min(per_minute, tokens - taken)
  redis.call('HSET', KEYS[2], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.0f', now))
  -- A full budget is what an unknown caller has: until then it must be kept.
  redis.call('PEXPIRE', KEYS[2], math.ceil((per_minute - tokens) * 60000 / per_minute) + 1000)
end

if lease_ms > 0 then
  redis.call('ZADD', KEYS[1], now + lease_ms, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], 2 * lease_ms)
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return {'OK'}
