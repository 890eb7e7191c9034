-- Admits a call for all of its subjects or for none: one step in Redis, by Redis's clock.
--
-- KEYS: of each subject a hash (r, rt: level and time of its requests; t, tt: of its tokens; h: tokens held for calls in
--   flight) and a sorted set of its calls in flight, each named "<tokens held>:<call>" and scored by when it must have
--   ended.
-- ARGV: the call; the longest that it may last, in ms; a told time in ms, or '' for the clock; then for each subject its
--   requests per minute, tokens per minute, calls at once ('-1': no limit) and the tokens to hold.
-- Answers {1, then for each subject: requests left, ms until all are, tokens left, ms until all are} or {0, which subject,
--   what (1 requests, 2 tokens, 3 calls), ms to wait, and the same four of this subject}; -1 where nothing is limited.
--
-- The arithmetic is that of bucket.rs, in whole numbers below 2^53.

local MINUTE, HIGHEST, SOON = 60000, 6000000000000000, 1000
-- For how long what is no longer needed is kept.
local SLACK = 60000

local life, now = tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

local function drained(level, at, limit)
  return math.max(0, level - limit * math.max(0, now - at))
end

-- How many ms until there is room for `more`; 0: there is.
local function wait(level, held, more, limit)
  if limit == 0 then return MINUTE end
  local over = level + (held + more) * MINUTE - limit * MINUTE
  if over <= 0 then return 0 end
  if over <= level then return math.ceil(over / limit) end
  return math.max(math.ceil(level / limit), SOON)
end

-- What is left of a limit, and in how many ms all of it is.
local function standing(level, held, limit)
  if limit < 0 then return -1, -1 end
  local used = level + held * MINUTE
  local left = math.max(0, limit * MINUTE - used)
  return math.floor(left / MINUTE), math.ceil(used / math.max(limit, 1))
end

local subjects = {}
for i = 1, #KEYS / 2 do
  local base = 3 + (i - 1) * 4
  local it = {
    hash = KEYS[2 * i - 1], calls = KEYS[2 * i],
    rpm = tonumber(ARGV[base + 1]), tpm = tonumber(ARGV[base + 2]),
    most = tonumber(ARGV[base + 3]), hold = tonumber(ARGV[base + 4]),
  }
  local kept = redis.call('HMGET', it.hash, 'r', 'rt', 't', 'tt', 'h')
  it.r, it.rt = tonumber(kept[1]) or 0, tonumber(kept[2]) or 0
  it.t, it.tt, it.h = tonumber(kept[3]) or 0, tonumber(kept[4]) or 0, tonumber(kept[5]) or 0
  it.count = 0
  if it.tpm >= 0 or it.most >= 0 then
    -- Calls that nobody ended in time: their node died.
    local dead = redis.call('ZRANGEBYSCORE', it.calls, '-inf', text(now))
    for _, call in ipairs(dead) do
      it.h = math.max(0, it.h - tonumber(string.match(call, '^%d+')))
    end
    if #dead > 0 then
      redis.call('ZREMRANGEBYSCORE', it.calls, '-inf', text(now))
      redis.call('HSET', it.hash, 'h', text(it.h))
    end
    it.count = redis.call('ZCARD', it.calls)
    if it.count == 0 then it.h = 0 end
  end
  if it.rpm >= 0 then
    it.r, it.rt = drained(it.r, it.rt, it.rpm), math.max(it.rt, now)
  end
  if it.tpm >= 0 then
    it.t, it.tt = drained(it.t, it.tt, it.tpm), math.max(it.tt, now)
  end
  subjects[i] = it
end

local function add_standing(answer, it)
  local left, reset = standing(it.r, 0, it.rpm)
  answer[#answer + 1], answer[#answer + 2] = left, reset
  left, reset = standing(it.t, it.h, it.tpm)
  answer[#answer + 1], answer[#answer + 2] = left, reset
end

for i, it in ipairs(subjects) do
  local what, ms = 0, 0
  if it.rpm >= 0 then
    what, ms = 1, wait(it.r, 0, 1, it.rpm)
  end
  if ms == 0 and it.tpm >= 0 then
    what, ms = 2, wait(it.t, it.h, it.hold, it.tpm)
  end
  if ms == 0 and it.most >= 0 and it.count >= it.most then
    what, ms = 3, SOON
  end
  if ms > 0 then
    local answer = {0, i, what, ms}
    add_standing(answer, it)
    return answer
  end
end

local answer = {1}
for _, it in ipairs(subjects) do
  local keep = 0
  if it.rpm >= 0 then
    it.r = math.min(it.r + MINUTE, HIGHEST)
    keep = math.ceil(it.r / math.max(it.rpm, 1))
    redis.call('HSET', it.hash, 'r', text(it.r), 'rt', text(it.rt))
  end
  if it.tpm >= 0 or it.most >= 0 then
    it.h = it.h + it.hold
    keep = math.max(keep, life, math.ceil(it.t / math.max(it.tpm, 1)))
    redis.call('HSET', it.hash, 't', text(it.t), 'tt', text(it.tt), 'h', text(it.h))
    redis.call('ZADD', it.calls, text(now + life), text(it.hold) .. ':' .. ARGV[1])
    redis.call('PEXPIRE', it.calls, text(life + SLACK))
  end
  -- Never sooner than before: another's calls or debts may need it longer.
  redis.call('PEXPIRE', it.hash, text(math.max(keep + SLACK, redis.call('PTTL', it.hash))))
  add_standing(answer, it)
end
return answer
