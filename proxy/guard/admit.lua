-- One request of one account: admit or refuse it, and number it if admitted.
-- GCRA (ITU-T I.371, leaky bucket as a meter): the theoretical arrival time moves by one
-- interval per request, and a request may come up to burst intervals early.
--
-- KEYS[1] theoretical arrival time, microseconds since 2026
-- KEYS[2] sequence of the account's last call
-- KEYS[3] leases of running calls: token by the millisecond of its expiry, since 2026
-- ARGV[1] interval between requests, microseconds
-- ARGV[2] burst, requests
-- ARGV[3] calls that may run at once, 0 without limit: then no lease is taken
-- ARGV[4] 2026-01-01 in Unix seconds
-- ARGV[5] life time of KEYS[2], seconds
-- ARGV[6] life time of a lease, milliseconds
-- ARGV[7] what the asking process knows of the account: a sequence that this one must exceed,
-- ARGV[8] and how far the arrival time lies ahead, at least, microseconds (while Redis was
--         away or before it was emptied; otherwise its own state is ahead of that)
-- ARGV[9] the lease's token
-- Returns {1 admitted, 0 refused for the rate, -1 refused for the calls that run;
--          requests left, microseconds until all of the burst is back,
--          microseconds until the rate would admit the next request, sequence or 0}
-- A refused request changes nothing.
--
-- The clock is Redis's own: the clocks of several gateways disagree.
local time = redis.call('TIME')
local now = (tonumber(time[1]) - tonumber(ARGV[4])) * 1000000 + tonumber(time[2])

local interval = tonumber(ARGV[1])
local tolerance = interval * tonumber(ARGV[2])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now + tonumber(ARGV[8]))
-- A clock set back must not lock an account out for as long as it was ahead.
arrival = math.min(arrival, now + tolerance)

local next_arrival = arrival + interval
local early = next_arrival - tolerance - now
if early > 0 then
  return {0, 0, arrival - now, early, 0}
end

-- %.0f: Lua would print a number above 14 digits in exponential form.
local concurrent = tonumber(ARGV[3])
if concurrent > 0 then
  local now_ms = math.floor(now / 1000)
  local over = string.format('%.0f', now_ms)
  local expiry = string.format('%.0f', now_ms + tonumber(ARGV[6]))
  -- Not ZCARD: leases from before a clock was set back seem to live for longer than any
  -- lease. Those of running calls get a true expiry when they are renewed.
  if redis.call('ZCOUNT', KEYS[3], '(' .. over, expiry) >= concurrent then
    return {-1, math.floor((tolerance - (arrival - now)) / interval), arrival - now, 0, 0}
  end
  -- First of the writes: a full Redis refuses a script at its first that takes memory only.
  redis.call('ZADD', KEYS[3], expiry, ARGV[9])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', over)
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end

local life_ms = math.ceil((next_arrival - now) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', next_arrival), 'PX', life_ms)

-- Even: gateways that number calls by themselves, without Redis, take odd ones.
local last = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), tonumber(ARGV[7]))
local sequence = math.max(last + 1, math.floor(now / 1000))
sequence = sequence + sequence % 2
redis.call('SET', KEYS[2], string.format('%.0f', sequence), 'EX', ARGV[5])

local left = math.floor((tolerance - (next_arrival - now)) / interval)
return {1, left, next_arrival - now, 0, sequence}
