-- Keep changed accounts, all or none, unless somebody changed any since they were read.
--
-- KEYS  records, names, changes, meta (proxy/guard/keyspace.py)
-- ARGV  version that was read ('' for none), format, pepper, last number,
--       then number, name, record of each changed account
-- Returns 1, or 0 where another change was faster.

if (redis.call('HGET', KEYS[4], 'version') or '') ~= ARGV[1] then
  return 0
end
local version = (tonumber(ARGV[1]) or 0) + 1
for i = 5, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i])
  redis.call('ZADD', KEYS[3], version, ARGV[i])
end
redis.call('HSET', KEYS[4], 'format', ARGV[2], 'pepper', ARGV[3],
  'last_number', ARGV[4], 'version', string.format('%.0f', version))
return 1
