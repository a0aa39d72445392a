-- Each request on a connection of its own; the sums as one line of JSON at the end.
wrk.headers["Connection"] = "close"

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\n{"connections": %d, "seconds": %f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout + e.status))
end
