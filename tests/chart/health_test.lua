-- Runs Argo CD's health script against objects as camera-operator writes them. Argo CD gives the object as the global `obj` and
-- takes the table that the script returns; of Lua's libraries it has the base, strings and tables.
--
--   lua5.1 health_test.lua <health.lua>

local file = assert(io.open(arg[1]))
local script = assert(loadstring(file:read("*a"), "health.lua"))
file:close()

local function condition(kind, status, reason, message)
  return { type = kind, status = status, reason = reason, message = message, lastTransitionTime = "2026-11-21T01:00:00Z" }
end

local function object(conditions, more)
  local made = {
    apiVersion = "camera-operator.dev/v1alpha1",
    kind = "Camera",
    metadata = { name = "door", generation = 2 },
    spec = {},
    status = { observedGeneration = 2, conditions = conditions },
  }
  for key, value in pairs(more or {}) do
    made[key] = value
  end
  return made
end

local ready = condition("Ready", "True", "Streaming", "640x480")
local cases = {
  { "new", { metadata = { name = "door", generation = 1 }, spec = {} }, "Progressing", "take it up" },
  { "status without conditions", { metadata = { name = "door" }, spec = {}, status = {} }, "Progressing", "take it up" },
  { "streaming", object({ ready, condition("Reachable", "True", "Streaming") }), "Healthy", "Streaming: 640x480" },
  { "edited a moment ago", object({ ready }, { status = { observedGeneration = 1, conditions = { ready } } }), "Progressing", "last edit" },
  { "first picture awaited", object({ condition("Ready", "False", "Connecting", "connecting") }), "Progressing", "Connecting" },
  { "its camera is awaited", object({ condition("Ready", "False", "CameraUnavailable", "waiting for camera shop/door") }), "Progressing", "shop/door" },
  { "its pod cannot be asked", object({ condition("Ready", "Unknown", "ReportUnavailable", "the agent does not answer") }), "Progressing", "ReportUnavailable" },
  { "unknown for another reason", object({ condition("Ready", "Unknown", "Streaming", "") }), "Progressing", "Streaming" },
  { "unreachable", object({ condition("Ready", "False", "Unreachable", "no connection") }), "Degraded", "Unreachable: no connection" },
  { "password refused", object({ condition("Ready", "False", "CredentialRefused", "401") }), "Degraded", "CredentialRefused" },
  { "a reason of a later version", object({ condition("Ready", "False", "SomethingNew", "what") }), "Degraded", "SomethingNew" },
  { "suspended", object({ condition("Ready", "False", "Suspended", "suspended") }, { spec = { suspend = true } }), "Suspended", "spec.suspend" },
  { "stopped over HTTP", object({ condition("Ready", "False", "Suspended", "stopped") }), "Suspended", "stopped" },
  { "waits for other clips", object({ condition("Ready", "False", "ClipLimitReached", "10 clips") }, { kind = "Recording" }), "Progressing", "ClipLimitReached" },
  { "volume being made", object({ condition("Ready", "False", "ClaimPending", "waits for a volume") }, { kind = "Archive" }), "Progressing", "ClaimPending" },
  { "image being pulled", object({ condition("Ready", "False", "PodStarting", "the image of pod a is being pulled") }), "Progressing", "PodStarting" },
  { "volume that cannot be mounted", object({ condition("Ready", "False", "MountFailed", "another node holds it") }, { kind = "Archive" }), "Degraded", "MountFailed" },
  { "no node takes its pod", object({ condition("Ready", "False", "Unschedulable", "0/3 nodes are available") }), "Degraded", "0/3 nodes" },
  { "archive without a volume", object({ condition("Ready", "False", "ClaimMissing", "write spec.claim") }, { kind = "Archive" }), "Degraded", "write spec.claim" },
  { "archive full", object({ condition("Ready", "False", "ArchiveFull", "no room") }, { kind = "Archive" }), "Degraded", "ArchiveFull" },
  { "clip goes on", object({ ready, condition("Complete", "False", "Recording", "recording") }, { kind = "Recording" }), "Healthy", "Streaming" },
  { "clip over, camera gone", object({ condition("Ready", "False", "CameraUnavailable", "gone"), condition("Complete", "True", "DeadlineReached", "has its full length") }), "Healthy", "full length" },
  { "clip over, edited since", object({ condition("Complete", "True", "Stopped", "was stopped") }, { status = { observedGeneration = 1, conditions = { condition("Complete", "True", "Stopped", "was stopped") } } }), "Healthy", "stopped" },
  { "clip failed", object({ condition("Ready", "False", "Connecting", ""), condition("Failed", "True", "ArchiveOwnedByAnother", "another owner") }), "Degraded", "another owner" },
  { "no Ready yet", object({ condition("Reachable", "True", "Streaming") }), "Progressing", "take it up" },
}

local failures = 0
for _, case in ipairs(cases) do
  local name, object_, status, message = unpack(case)
  setfenv(script, { obj = object_, ipairs = ipairs, pairs = pairs, string = string, table = table, tostring = tostring, type = type })
  local ran, health = pcall(script)
  if not ran then
    print("   " .. name .. ": " .. tostring(health))
    failures = failures + 1
  elseif health.status ~= status or not string.find(health.message, message, 1, true) then
    print("   " .. name .. ": wanted " .. status .. ", …" .. message .. "…; got " .. tostring(health.status) .. ", " .. tostring(health.message))
    failures = failures + 1
  end
end
os.exit(failures == 0 and 0 or 1)
