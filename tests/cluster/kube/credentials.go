package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// A kubeconfig to write: the certificate's common name and organizations are the user and its groups.
type client struct {
	file   string
	user   string
	groups []string
}

var clients = []client{
	{"admin", "test-admin", []string{"system:masters"}},
	{"controller-manager", "system:kube-controller-manager", nil},
	{"scheduler", "system:kube-scheduler", nil},
	{"proxy", "system:kube-proxy", nil},
	{"dns", "test-dns", []string{"system:masters"}},
}

// authority signs; every key is used for one run of the cluster only.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

// credentials writes a certificate authority, what it signs and the kubeconfigs of all parts into one folder.
func credentials() int {
	flags := flag.NewFlagSet("credentials", flag.ExitOnError)
	folder := flags.String("folder", "", "where to write")
	server := flags.String("server", "", "URL of the API server for the kubeconfigs")
	addresses := flags.String("addresses", "127.0.0.1", "addresses that the API server is reached at, by commas")
	node := flags.String("node", "", "name of the node, where there is one")
	_ = flags.Parse(os.Args[1:])
	if err := writeCredentials(*folder, *server, strings.Split(*addresses, ","), *node); err != nil {
		fmt.Fprintf(os.Stderr, "credentials: %v\n", err)
		return 1
	}
	return 0
}

func writeCredentials(folder, server string, addresses []string, node string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	ca, caPEM, err := newAuthority()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "ca.crt"), caPEM, 0o600); err != nil {
		return err
	}
	if err := writeServiceAccountKey(folder); err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	var ips []net.IP
	for _, address := range addresses {
		ip := net.ParseIP(address)
		if ip == nil {
			return fmt.Errorf("no IP address: %q", address)
		}
		ips = append(ips, ip)
	}
	if err := ca.writePair(folder, "apiserver", &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, DNSNames: names, IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return err
	}
	if err := ca.writePair(folder, "kubelet-client", clientTemplate("kube-apiserver-kubelet-client", []string{"system:masters"})); err != nil {
		return err
	}
	all := clients
	if node != "" {
		all = append(all, client{"kubelet", "system:node:" + node, []string{"system:nodes"}})
	}
	for _, client := range all {
		if err := ca.writeKubeconfig(folder, server, caPEM, client); err != nil {
			return err
		}
	}
	return nil
}

func newAuthority() (*authority, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test-cluster-ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	return &authority{certificate, key, 1}, encode("CERTIFICATE", der), nil
}

func clientTemplate(user string, groups []string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// sign completes the template and returns the certificate and its new key as PEM.
func (ca *authority) sign(template *x509.Certificate) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ca.serial++
	template.SerialNumber = big.NewInt(ca.serial)
	template.NotBefore, template.NotAfter = ca.certificate.NotBefore, ca.certificate.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, private.Public(), ca.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(private)
	return encode("CERTIFICATE", der), key, err
}

func (ca *authority) writePair(folder, name string, template *x509.Certificate) error {
	certificate, key, err := ca.sign(template)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, name+".crt"), certificate, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name+".key"), key, 0o600)
}

func (ca *authority) writeKubeconfig(folder, server string, caPEM []byte, client client) error {
	certificate, key, err := ca.sign(clientTemplate(client.user, client.groups))
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: caPEM}
	config.AuthInfos[client.user] = &clientcmdapi.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: client.user}
	config.CurrentContext = "test"
	return clientcmd.WriteToFile(*config, filepath.Join(folder, client.file+".kubeconfig"))
}

// Service accounts' tokens are signed by RSA, as almost everywhere.
func writeServiceAccountKey(folder string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "service-accounts.key"), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "service-accounts.pub"), encode("PUBLIC KEY", public), 0o600)
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encode("PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
