package main

import (
	"fmt"
	"runtime/debug"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// A pod as a namespace's admission would see it; the version is that of the labels, such as "v1.35" or "latest".
type podInput struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     corev1.PodSpec    `json:"spec"`
}

type verdict struct {
	Allowed bool     `json:"allowed"`
	Reasons []string `json:"reasons"`
}

type podAnswer struct {
	Name       string  `json:"name"`
	Baseline   verdict `json:"baseline"`
	Restricted verdict `json:"restricted"`
}

func pods() error {
	var inputs []podInput
	if err := read(&inputs); err != nil {
		return err
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	answers := make([]podAnswer, 0, len(inputs))
	for _, input := range inputs {
		version, err := api.ParseVersion(input.Version)
		if err != nil {
			return fmt.Errorf("%s: version %q: %w", input.Name, input.Version, err)
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
		answers = append(answers, podAnswer{input.Name, ask(api.LevelBaseline), ask(api.LevelRestricted)})
	}
	return write(map[string]any{"version": moduleVersion("k8s.io/pod-security-admission"), "answers": answers})
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
