-- One request of one account: admit or refuse it, and number it if admitted.
-- GCRA (ITU-T I.371, leaky bucket as a meter): the theoretical arrival time moves by one
-- interval per request, and a request may come up to burst intervals early.
--
-- KEYS[1] theoretical arrival time, microseconds since 2026
-- KEYS[2] sequence of the account's last call
-- ARGV[1] interval between requests, microseconds
-- ARGV[2] burst, requests
-- ARGV[3] 2026-01-01 in Unix seconds
-- ARGV[4] life time of KEYS[2], seconds
-- ARGV[5] a sequence that this one must exceed (calls numbered while Redis was away)
-- Returns {admitted 0/1, requests left, microseconds until all of the burst is back,
--          microseconds until the next request would be admitted, sequence or 0}
--
-- The clock is Redis's own: the clocks of several gateways disagree.
local time = redis.call('TIME')
local now = (tonumber(time[1]) - tonumber(ARGV[3])) * 1000000 + tonumber(time[2])

local interval = tonumber(ARGV[1])
local tolerance = interval * tonumber(ARGV[2])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
-- A clock set back must not lock an account out for as long as it was ahead.
arrival = math.min(arrival, now + tolerance)

local next_arrival = arrival + interval
local early = next_arrival - tolerance - now
if early > 0 then
  return {0, 0, arrival - now, early, 0}
end

-- %.0f: Lua would print a number above 14 digits in exponential form.
local life_ms = math.ceil((next_arrival - now) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', next_arrival), 'PX', life_ms)

local last = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), tonumber(ARGV[5]))
local sequence = math.max(last + 1, math.floor(now / 1000))
redis.call('SET', KEYS[2], string.format('%.0f', sequence), 'EX', ARGV[4])

local left = math.floor((tolerance - (next_arrival - now)) / interval)
return {1, left, next_arrival - now, 0, sequence}
