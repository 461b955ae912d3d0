-- Renew leases of running calls of one account; those that were lost come back.
--
-- KEYS[1] leases of the account (KEYS[3] of admit.lua)
-- ARGV[1] 2026-01-01 in Unix seconds
-- ARGV[2] life time of a lease, milliseconds
-- ARGV[3...] tokens
local time = redis.call('TIME')
local now_ms = (tonumber(time[1]) - tonumber(ARGV[1])) * 1000 + math.floor(tonumber(time[2]) / 1000)
local expiry = string.format('%.0f', now_ms + tonumber(ARGV[2]))
for place = 3, #ARGV do
  redis.call('ZADD', KEYS[1], expiry, ARGV[place])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return #ARGV - 2
