package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime/debug"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// A pod as a namespace's admission would see it; the version is that of the labels, such as "v1.35" or "latest".
type podInput struct {
	Version  string            `json:"version"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     corev1.PodSpec    `json:"spec"`
}

type verdict struct {
	Allowed bool     `json:"allowed"`
	Reasons []string `json:"reasons"`
}

// What is no pod at all gets an error instead of verdicts, and the others their answers all the same.
type podAnswer struct {
	Error      string  `json:"error,omitempty"`
	Baseline   verdict `json:"baseline"`
	Restricted verdict `json:"restricted"`
}

func pods() error {
	var inputs []json.RawMessage
	if err := read(&inputs); err != nil {
		return err
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	answers := make([]podAnswer, 0, len(inputs))
	for _, raw := range inputs {
		answer, err := judgePod(evaluator, raw)
		if err != nil {
			answer = podAnswer{Error: err.Error()}
		}
		answers = append(answers, answer)
	}
	return write(map[string]any{"version": moduleVersion("k8s.io/pod-security-admission"), "answers": answers})
}

func judgePod(evaluator policy.Evaluator, raw json.RawMessage) (podAnswer, error) {
	var input podInput
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&input); err != nil {
		return podAnswer{}, err
	}
	version, err := api.ParseVersion(input.Version)
	if err != nil {
		return podAnswer{}, fmt.Errorf("version %q: %w", input.Version, err)
	}
	// As the API server's defaults, which come before admission: a volume without a source is an emptyDir.
	for i := range input.Spec.Volumes {
		if volume := &input.Spec.Volumes[i]; volume.VolumeSource == (corev1.VolumeSource{}) {
			volume.EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
	ask := func(level api.Level) verdict {
		found := verdict{Allowed: true, Reasons: []string{}}
		for _, result := range evaluator.EvaluatePod(
			api.LevelVersion{Level: level, Version: version}, &input.Metadata, &input.Spec) {
			if !result.Allowed {
				found.Allowed = false
				found.Reasons = append(found.Reasons, fmt.Sprintf("%s: %s", result.ForbiddenReason, result.ForbiddenDetail))
			}
		}
		return found
	}
	return podAnswer{Baseline: ask(api.LevelBaseline), Restricted: ask(api.LevelRestricted)}, nil
}

func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == path {
				return module.Version
			}
		}
	}
	return "unknown"
}
