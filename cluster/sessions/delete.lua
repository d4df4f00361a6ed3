-- Deletes a session, if it still has the etag.
-- KEYS  1 meta, 2 contents, 3 media, 4 requests
-- ARGV  1 etag, or "" for whatever it has
-- Returns {"OK", "created_us", creation time}, {"NOT_FOUND"} or {"CONFLICT", etag}.
local etag = redis.call('HGET', KEYS[1], 'etag')
if not etag then
  return {'NOT_FOUND'}
end
if ARGV[1] ~= '' and ARGV[1] ~= etag then
  return {'CONFLICT', etag}
end
local created = redis.call('HGET', KEYS[1], 'created_us')
redis.call('UNLINK', unpack(KEYS))
return {'OK', 'created_us', created}
