-- Put a whole new set of accounts in the place of the old one, unless any changed since
-- they were read. Takes no longer for many accounts than for few.
--
-- KEYS  records, names, changes, meta, then the new records, names, changes, and three
--       names for the old ones
-- ARGV  version that was read ('' for none), format, pepper, last number
-- Returns 1, or 0 where another change was faster.

if (redis.call('HGET', KEYS[4], 'version') or '') ~= ARGV[1] then
  return 0
end
for i = 1, 3 do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('RENAME', KEYS[i], KEYS[7 + i])
    redis.call('UNLINK', KEYS[7 + i])
  end
  redis.call('RENAME', KEYS[4 + i], KEYS[i])
  redis.call('PERSIST', KEYS[i])
end
redis.call('HSET', KEYS[4], 'format', ARGV[2], 'pepper', ARGV[3],
  'last_number', ARGV[4], 'version', string.format('%.0f', (tonumber(ARGV[1]) or 0) + 1))
return 1
