{{/*
What each program may do, once, for both ways of granting it: in every namespace, or in the one of `watchNamespace`. A
test reads what is rendered from here and refuses rights that neither program must ever have.
*/}}

{{/* What the operator may do with objects in namespaces. */}}
{{- define "quartermaster.operatorRules" -}}
- apiGroups: [quartermaster.dev]
  resources: [inferencepools, routepolicies]
  verbs: [list, watch]
- apiGroups: [quartermaster.dev]
  resources: [inferencepools/status, routepolicies/status]
  verbs: [patch]
# Needed where the admission plugin OwnerReferencesPermissionEnforcement is on: the objects made for a pool block its
# deletion until they are gone.
- apiGroups: [quartermaster.dev]
  resources: [inferencepools/finalizers]
  verbs: [update]
# Made for a pool. A server-side apply is a patch, and a create where nothing is there yet. Only an autoscaler is ever
# deleted before its pool; the rest goes with it, by its owner reference.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch, create, patch, delete]
# The replicas whose load is asked for.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What the operator may do with objects that belong to no namespace; only an install for all namespaces has them. */}}
{{- define "quartermaster.operatorClusterRules" -}}
{{ include "quartermaster.namespaceRules" . }}
{{- if .root.Values.metricsApi.enabled }}
# It writes the authority of its certificate into these two objects of the chart.
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  resourceNames: [v1beta1.custom.metrics.k8s.io, v1beta2.custom.metrics.k8s.io]
  verbs: [get, patch]
{{- end }}
{{- end }}

{{- define "quartermaster.namespaceRules" -}}
# A pool can be open to namespaces with certain labels. Of a namespace only its metadata are asked for.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}

{{/* What the router may do. It only reads, and only what it routes by; and it asks whose tokens callers show. It sees no ConfigMap or pod, and only
those Secrets that the value `credentials` names. */}}
{{- define "quartermaster.routerRules" -}}
- apiGroups: [quartermaster.dev]
  resources: [inferencepools, routepolicies]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end }}

{{- define "quartermaster.routerClusterRules" -}}
{{ include "quartermaster.namespaceRules" . }}
{{- if .root.Values.router.tokenAudience }}
# It asks whose token a caller shows. The answer tells of that token only.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
{{- end }}
{{- end }}

{{/*
Grants to a component the rules that `<component>Rules` and `<component>ClusterRules` hold, by a ClusterRole for all
namespaces; or those of the former, by a Role in the namespace that is watched.
*/}}
{{- define "quartermaster.grant" -}}
{{- $watched := .root.Values.watchNamespace }}
{{- $name := include "quartermaster.name" . }}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (ne $watched "") }}
metadata:
  name: {{ $name }}
  {{- with $watched }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "quartermaster.labels" . | nindent 4 }}
rules:
  {{- include (printf "quartermaster.%sRules" .component) . | trim | nindent 2 }}
  {{- if not $watched }}
  {{- include (printf "quartermaster.%sClusterRules" .component) . | trim | nindent 2 }}
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne $watched "") }}
metadata:
  name: {{ $name }}
  {{- with $watched }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "quartermaster.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "Role" "ClusterRole" (ne $watched "") }}
  name: {{ $name }}
subjects:
  {{- include "quartermaster.subject" . | nindent 2 }}
{{- end }}

{{/* The component's service account, as a subject of a binding. */}}
{{- define "quartermaster.subject" -}}
- kind: ServiceAccount
  name: {{ include "quartermaster.name" . }}
  namespace: {{ .root.Release.Namespace }}
{{- end }}
