package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// networkPolicies enforces the NetworkPolicies of a node's pods until a signal comes. It is the SIG Network's own controller; only
// its beginning is here, since its command takes no kubeconfig. When it is gone, everything passes again.
func networkPolicies() int {
	flags := flag.NewFlagSet("network-policies", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how the API server is reached")
	node := flags.String("node", "", "the node's name")
	queue := flags.Int("queue", 100, "number of the netfilter queue")
	_ = flags.Parse(os.Args[1:])

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.ErrorS(err, "The kubeconfig cannot be read")
		return 1
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		klog.ErrorS(err, "No client can be made")
		return 1
	}
	// With NRIdisabled an address of no known pod would end the process (v0.8.0 asks the plugin then, which there is none of). Without a
	// runtime that speaks NRI the plugin says so once, and knows of nothing.
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(client, factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(), factory.Core().V1().Pods(), nil, nil, nil, nil,
		networkpolicy.Config{NodeName: *node, QueueID: *queue, FailOpen: true})
	if err != nil {
		klog.ErrorS(err, "The controller cannot be made")
		return 1
	}
	factory.Start(ctx.Done())
	if err := controller.Run(ctx); err != nil {
		klog.ErrorS(err, "NetworkPolicies are no longer enforced")
		return 1
	}
	return 0
}
