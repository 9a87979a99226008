package main

import (
	"fmt"
	"io"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// A connection from one peer to another. Pods have labels, a namespace and its labels; who is outside of the
// cluster has an address only.
type connection struct {
	From     peer            `json:"from"`
	To       peer            `json:"to"`
	Port     int             `json:"port"`
	PortName string          `json:"portName"`
	Protocol corev1.Protocol `json:"protocol"`
}

type peer struct {
	IP              string            `json:"ip"`
	Namespace       string            `json:"namespace"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	Labels          map[string]string `json:"labels"`
}

func (p peer) traffic() *matcher.TrafficPeer {
	if p.Namespace == "" {
		return &matcher.TrafficPeer{IP: p.IP}
	}
	return &matcher.TrafficPeer{IP: p.IP, Internal: &matcher.InternalPeer{
		PodLabels: p.Labels, NamespaceLabels: p.NamespaceLabels, Namespace: p.Namespace,
	}}
}

type allowed struct {
	Ingress bool `json:"ingress"`
	Egress  bool `json:"egress"`
}

// network answers each connection as `cyclonus analyze --mode query-traffic` does, of which it is the inside;
// that command prints tables for people.
func network() error {
	logrus.SetOutput(io.Discard)
	var input struct {
		Policies    []*networkingv1.NetworkPolicy `json:"policies"`
		Connections []connection                  `json:"connections"`
	}
	if err := read(&input); err != nil {
		return err
	}
	for _, policy := range input.Policies {
		if policy.Namespace == "" {
			return fmt.Errorf("NetworkPolicy %s names no namespace", policy.Name)
		}
		// As the API server's defaults: ingress, and egress where there are rules for it; TCP.
		if len(policy.Spec.PolicyTypes) == 0 {
			policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
			if len(policy.Spec.Egress) > 0 {
				policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
			}
		}
	}
	policies := matcher.BuildNetworkPolicies(true, input.Policies)
	answers := make([]allowed, 0, len(input.Connections))
	for _, asked := range input.Connections {
		result := policies.IsTrafficAllowed(&matcher.Traffic{
			Source: asked.From.traffic(), Destination: asked.To.traffic(),
			ResolvedPort: asked.Port, ResolvedPortName: asked.PortName, Protocol: asked.Protocol,
		})
		answers = append(answers, allowed{result.Ingress.IsAllowed(), result.Egress.IsAllowed()})
	}
	return write(map[string]any{"version": moduleVersion("github.com/mattfenwick/cyclonus"), "answers": answers})
}
