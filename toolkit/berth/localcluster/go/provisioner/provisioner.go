// Package provisioner makes persistent volumes out of folders of this machine:
// one folder per volume below one root, as a `local` volume that only the node
// the scheduler chose may mount. The folder is deleted with the volume.
//
// It runs as a process of the control plane beside the other controllers, since
// all nodes of a Berth cluster share this machine's file system.
package provisioner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Name is what a StorageClass names as its provisioner.
const Name = "berth.dev/local"

// The group may write (kubelet hands the folder to the pod's fsGroup), others
// may not look inside: a pod that forgets its fsGroup fails here as on a cloud's disk.
const folderMode = 0o770

// NewCommand returns the program `berth-provisioner`.
func NewCommand() *cobra.Command {
	var kubeconfig, root string
	command := &cobra.Command{
		Use:           "berth-provisioner",
		Short:         "Make persistent volumes out of folders of this machine",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(_ *cobra.Command, _ []string) error {
			return run(genericapiserver.SetupSignalContext(), kubeconfig, root)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file that says how to reach the API server")
	command.Flags().StringVar(&root, "root", "", "absolute path of the folder that holds the volumes' folders")
	for _, flag := range []string{"kubeconfig", "root"} {
		if err := command.MarkFlagRequired(flag); err != nil {
			panic(err) // the flag is defined three lines above
		}
	}
	return command
}

func run(ctx context.Context, kubeconfig, root string) error {
	if !filepath.IsAbs(root) {
		return fmt.Errorf("--root=%q: want an absolute path, since volumes record it", root)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig=%q: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	controller.NewProvisionController(
		klog.NewContext(ctx, klog.Background()), client, Name, folders{root: filepath.Clean(root)},
		controller.LeaderElection(false),       // one process per cluster
		controller.AddFinalizer(true),          // the volume object stays until its folder is gone
		controller.FailedProvisionThreshold(0), // a claim is retried until it is gone
		controller.FailedDeleteThreshold(0),
		controller.RetryIntervalMax(time.Minute),
	).Run(ctx)
	return nil
}

type folders struct{ root string }

func (f folders) path(volume string) string { return filepath.Join(f.root, volume) }

// Provision makes the volume's folder. It is idempotent: a retry after a crash finds the folder it made.
func (f folders) Provision(
	_ context.Context, options controller.ProvisionOptions,
) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	if err := refuse(options); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	path := f.path(options.PVName)
	if err := os.MkdirAll(path, folderMode); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// MkdirAll's mode went through the umask.
	if err := os.Chmod(path, folderMode); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: options.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource:        v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{
					Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{options.SelectedNodeName},
				}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

// refuse says why a claim can never be served, rather than serve something else.
func refuse(options controller.ProvisionOptions) error {
	claim := options.PVC.Spec
	if options.SelectedNodeName == "" {
		return fmt.Errorf("StorageClass %q: volumeBindingMode must be WaitForFirstConsumer: a folder belongs to the node its first pod runs on",
			options.StorageClass.Name)
	}
	if claim.Selector != nil {
		return errors.New("spec.selector: not supported, volumes are made on demand and carry no labels")
	}
	if claim.DataSource != nil || claim.DataSourceRef != nil {
		return errors.New("spec.dataSource: not supported, a new volume is always empty")
	}
	if len(options.StorageClass.Parameters) > 0 {
		return fmt.Errorf("StorageClass %q: parameters are not supported, remove them", options.StorageClass.Name)
	}
	allowed := []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce, v1.ReadWriteOncePod}
	for _, mode := range claim.AccessModes {
		if !slices.Contains(allowed, mode) {
			return fmt.Errorf("spec.accessModes: %s is not supported, a folder serves one node: use ReadWriteOnce or ReadWriteOncePod", mode)
		}
	}
	return nil
}

// Delete removes the volume's folder with all that is in it.
func (f folders) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	path := f.path(volume.Name)
	if volume.Spec.Local == nil || volume.Spec.Local.Path != path {
		return fmt.Errorf("volume %s is not at %s, where this provisioner would have made it: its data is left alone", volume.Name, path)
	}
	return os.RemoveAll(path)
}
