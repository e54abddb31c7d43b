// A load generator for etcd on etcd's own Go client: the peer of Holdfast's network rows.
//
//	etcd-load ENDPOINT put|get IN_FLIGHT COUNT VALUE_SIZE KEY_COUNT CONNECTIONS
//
// Prints one JSON object: calls a second and latencies in milliseconds. Keys are key-%010d, chosen by a multiplicative
// step so that neighbours in time are not neighbours in order; with COUNT = KEY_COUNT every key is written once.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
)

func number(index int) int {
	value, err := strconv.Atoi(os.Args[index])
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	endpoint, operation := os.Args[1], os.Args[2]
	inFlight, count, valueSize, keyCount, connections := number(3), number(4), number(5), number(6), number(7)
	clients := make([]*clientv3.Client, connections)
	for i := range clients {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
		if err != nil {
			panic(err)
		}
		defer client.Close()
		clients[i] = client
	}
	value := make([]byte, valueSize)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	latencies := make([]float64, count)
	var next int64 = -1
	var group sync.WaitGroup
	started := time.Now()
	for worker := 0; worker < inFlight; worker++ {
		group.Add(1)
		go func(client *clientv3.Client) {
			defer group.Done()
			for {
				i := int(atomic.AddInt64(&next, 1))
				if i >= count {
					return
				}
				key := fmt.Sprintf("key-%010d", (i*7919)%keyCount)
				before := time.Now()
				var err error
				if operation == "put" {
					_, err = client.Put(context.Background(), key, string(value))
				} else {
					_, err = client.Get(context.Background(), key)
				}
				if err != nil {
					panic(err)
				}
				latencies[i] = float64(time.Since(before).Microseconds()) / 1000
			}
		}(clients[worker%connections])
	}
	group.Wait()
	seconds := time.Since(started).Seconds()
	sort.Float64s(latencies)
	json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"perSecond": float64(count) / seconds,
		"p50Ms":     latencies[count/2],
		"p99Ms":     latencies[count*99/100],
	})
}
