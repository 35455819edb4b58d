-- How Argo CD sees a Camera, Stream, Archive, Recording or AlertRoute: by its conditions. One script for the five kinds.
-- Healthy: it does what it is for. Progressing: that is to be seen. Suspended: somebody wants it so. Degraded: a person is needed.

-- These come and go by themselves: another object or pod is awaited.
local passing = {
  Pending = true,
  Connecting = true,
  CameraUnavailable = true,
  ArchiveUnavailable = true,
  ReportUnavailable = true,
  ClaimPending = true,
  PodStarting = true,
  ClipLimitReached = true,
  ShuttingDown = true,
  ClockStepped = true,
  ConfigurationChanged = true,
}

local health = { status = "Progressing", message = "Waiting for camera-operator to take it up" }
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local function told(condition)
  if condition.message ~= nil and condition.message ~= "" then
    return condition.reason .. ": " .. condition.message
  end
  return condition.reason
end

-- A clip that is over stays over, whatever becomes of its camera.
local complete, failed = conditions.Complete, conditions.Failed
if complete ~= nil and complete.status == "True" then
  return { status = "Healthy", message = told(complete) }
end
-- What was said of an earlier edit says nothing of this one.
local generation = obj.metadata.generation
if generation ~= nil and status.observedGeneration ~= nil and status.observedGeneration < generation then
  health.message = "Waiting for camera-operator to take up the last edit"
  return health
end
if obj.spec ~= nil and obj.spec.suspend == true then
  return { status = "Suspended", message = "spec.suspend is set" }
end
if failed ~= nil and failed.status == "True" then
  return { status = "Degraded", message = told(failed) }
end

local ready = conditions.Ready
if ready == nil then
  return health
end
health.message = told(ready)
if ready.status == "True" then
  health.status = "Healthy"
elseif ready.reason == "Suspended" then
  health.status = "Suspended"
elseif ready.status == "False" and not passing[ready.reason] then
  health.status = "Degraded"
end
return health
