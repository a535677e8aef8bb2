{{- define "evenkeel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* At most 40 characters, so that every suffix fits into a name; and the name of a Service, which not every release's is. */ -}}
{{- define "evenkeel.fullname" -}}
{{- $name := printf "%s-%s" .Release.Name (include "evenkeel.name" .) }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains (include "evenkeel.name" .) .Release.Name }}
{{- $name = .Release.Name }}
{{- end }}
{{- $name = $name | trunc 40 | trimSuffix "-" }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "%s cannot be the name of a Service: set fullnameOverride to one of lower-case letters, digits and - that begins with a letter" $name) }}
{{- end }}
{{- $name }}
{{- end }}

{{- define "evenkeel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "evenkeel.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "evenkeel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "evenkeel.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* Of the pod that helm test runs: none by which the operator is selected. */ -}}
{{- define "evenkeel.testLabels" -}}
app.kubernetes.io/name: {{ include "evenkeel.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "evenkeel.labels" -}}
{{- include "evenkeel.labelsWith" (list . nil) }}
{{- end }}

{{- /* Each key once, whoever else sets it: the chart, then the labels of this object, then those of all. */ -}}
{{- define "evenkeel.labelsWith" -}}
{{- $root := first . }}
{{- $own := include "evenkeel.ownLabels" $root | fromYaml }}
{{- merge $own (last . | default dict) ($root.Values.commonLabels | default dict) | toYaml }}
{{- end }}

{{- define "evenkeel.ownLabels" -}}
{{ include "evenkeel.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end }}

{{- /* As the Prometheus operator names those of pods. Without the namespace, releases of one name would be one job: what is said of backends
has their namespace, not the operator's. */ -}}
{{- define "evenkeel.job" -}}
{{ .Release.Namespace }}/{{ include "evenkeel.fullname" . }}-metrics
{{- end }}

{{- define "evenkeel.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "evenkeel.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}
