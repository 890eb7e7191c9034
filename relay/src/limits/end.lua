-- Ends a call for all of its subjects. Told twice, or after the call's place expired, it changes nothing.
--
-- KEYS: as in admit.lua. ARGV: the call; the tokens that it came to; a told time in ms, or '' for the clock; then for each
-- subject its tokens per minute ('-1': no limit) and the tokens held.

local MINUTE, HIGHEST, SLACK = 60000, 6000000000000000, 60000

local used, now = tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

for i = 1, #KEYS / 2 do
  local hash, calls = KEYS[2 * i - 1], KEYS[2 * i]
  local tpm, held = tonumber(ARGV[2 + 2 * i]), tonumber(ARGV[3 + 2 * i])
  if redis.call('ZREM', calls, text(held) .. ':' .. ARGV[1]) == 1 and tpm >= 0 then
    local kept = redis.call('HMGET', hash, 't', 'tt', 'h')
    local t, tt, h = tonumber(kept[1]) or 0, tonumber(kept[2]) or 0, tonumber(kept[3]) or 0
    t = math.max(0, t - tpm * math.max(0, now - tt))
    t = math.min(t + used * MINUTE, HIGHEST)
    redis.call('HSET', hash, 't', text(t), 'tt', text(math.max(tt, now)), 'h', text(math.max(0, h - held)))
    local keep = math.ceil(t / math.max(tpm, 1)) + SLACK
    redis.call('PEXPIRE', hash, text(math.max(keep, redis.call('PTTL', hash))))
  end
end
return 0
