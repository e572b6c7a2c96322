-- Health of the kinds of quartermaster.dev for Argo CD. Their statuses keep to kstatus, so one script does for all of them:
-- https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
local health = { status = "Progressing", message = "waiting for the operator to look at this object" }
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end
local is = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Ready" then
    health.message = condition.message
  end
  if condition.status == "True" then
    is[condition.type] = condition
  end
end
if is.Reconciling ~= nil then
  health.message = is.Reconciling.message
elseif is.Stalled ~= nil then
  health.status = "Degraded"
  health.message = is.Stalled.message
elseif is.Ready ~= nil then
  health.status = "Healthy"
end
return health
