{{/*
Name of every object is "quartermaster-<component>", whatever the release is called: the operator works for the whole
cluster, or for the whole of a namespace, so a second install must collide with the first instead of standing beside it.
Argument of the helpers: a dict of root (the chart's top scope) and component.
*/}}
{{- define "quartermaster.name" -}}
quartermaster-{{ .component }}
{{- end }}

{{/* Labels that pods are selected by. They cannot change after the first install. */}}
{{- define "quartermaster.selectorLabels" -}}
app.kubernetes.io/name: quartermaster
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "quartermaster.labels" -}}
{{ include "quartermaster.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: quartermaster
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "quartermaster.metadata" -}}
name: {{ include "quartermaster.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "quartermaster.labels" . | nindent 2 }}
{{- end }}

{{/* Secret with the certificate of the operator's metrics API. The operator makes it. */}}
{{- define "quartermaster.tlsSecret" -}}
{{ include "quartermaster.name" . }}-tls
{{- end }}

{{- define "quartermaster.image" -}}
{{- $image := .root.Values.image -}}
{{- $whole := (index .root.Values .component).image -}}
{{- $whole | default (printf "%s/%s:%s" $image.registry .component ($image.tag | default .root.Chart.AppVersion)) | quote -}}
{{- end }}

{{/* What a pod may do on its node: nothing beyond running its one program. Pod Security "restricted". */}}
{{- define "quartermaster.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "quartermaster.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{/* Where pods run, from the values of the component. */}}
{{- define "quartermaster.placement" -}}
{{- $values := index .root.Values .component -}}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
