-- What wrk sends, and what it tells: requests for several paths in turn, or for random parts of one; the result as one
-- line of JSON.
--     wrk ... -s wrk.lua ADDRESS -- PART OF PATH...
-- PART is how many bytes a request asks for, of a file that has OF of them; 0 asks for all of it.

local requests = {}
local next_request = 0
local part, parts, path

function init(arguments)
   part, parts = tonumber(arguments[1]), 0
   if part > 0 then
      parts = math.floor(tonumber(arguments[2]) / part)
      math.randomseed(1)
   end
   path = arguments[3]
   for number = 3, #arguments do
      table.insert(requests, wrk.format("GET", arguments[number]))
   end
end

function request()
   if part > 0 then
      local start = math.random(0, parts - 1) * part
      return wrk.format("GET", path, { Host = wrk.headers["Host"], Range = "bytes=" .. start .. "-" .. start + part - 1 })
   end
   next_request = next_request % #requests + 1
   return requests[next_request]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"seconds": %.6f, "bytes": %.0f, "requests": %.0f, "median": %.6f, "p99": %.6f, "errors": %d}\n',
      summary.duration / 1e6, summary.bytes, summary.requests,
      latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
