// A load generator for etcd on etcd's own Go client: the peer of Holdfast's network rows.
//
//	etcd-load ENDPOINTS put|get IN_FLIGHT COUNT VALUE_SIZE KEY_COUNT CONNECTIONS
//	etcd-load ENDPOINTS write
//	etcd-load ENDPOINTS transfer|lock IN_FLIGHT COUNT ACCOUNTS
//
// The second is the twin of `writer.ts`, and tells there what it does; the third of `objects.ts`: transfers by etcd's
// software transactional memory, hand-overs of its mutex. The others print one JSON object: calls a second and latencies in milliseconds. Keys are key-%010d, chosen by a multiplicative
// step so that neighbours in time are not neighbours in order; with COUNT = KEY_COUNT every key is written once.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
)

func number(index int) int {
	value, err := strconv.Atoi(os.Args[index])
	if err != nil {
		panic(err)
	}
	return value
}

func connect(endpoints string) *clientv3.Client {
	config := clientv3.Config{Endpoints: strings.Split(endpoints, ","), DialTimeout: 5 * time.Second}
	client, err := clientv3.New(config)
	if err != nil {
		panic(err)
	}
	return client
}

// What the callers of `write` have been told.
type gaps struct {
	sync.Mutex
	last    time.Time
	longest time.Duration
	count   int
}

func (g *gaps) acknowledged() {
	g.Lock()
	defer g.Unlock()
	now := time.Now()
	if now.Sub(g.last) > g.longest {
		g.longest = now.Sub(g.last)
	}
	g.last = now
	g.count++
}

func (g *gaps) answer(line string) {
	g.Lock()
	defer g.Unlock()
	now := time.Now()
	if line == "reset" {
		g.last, g.longest, g.count = now, 0, 0
		return
	}
	since, longest := now.Sub(g.last), g.longest
	if since > longest {
		longest = since
	}
	json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"gapMs":   float64(longest.Microseconds()) / 1000,
		"sinceMs": float64(since.Microseconds()) / 1000,
		"count":   float64(g.count),
	})
}

func write(endpoints string) {
	client := connect(endpoints)
	value := strings.Repeat("a", 256)
	state := &gaps{last: time.Now()}
	for caller := 0; caller < 10; caller++ {
		go func(caller int) {
			for i := 0; ; i = (i + 1) % 1000 {
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				_, err := client.Put(ctx, fmt.Sprintf("writer-%d-%d", caller, i), value)
				cancel()
				if err == nil {
					state.acknowledged()
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		}(caller)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		state.answer(lines.Text())
	}
}

// One transfer of 1 between two accounts, by workers that each have a client of their own.
func transfer(client *clientv3.Client, accounts int, i int) error {
	from := fmt.Sprintf("account/%05d", (i*7919)%accounts)
	to := fmt.Sprintf("account/%05d", (i*7919+1)%accounts)
	_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
		have, _ := strconv.Atoi(stm.Get(from))
		has, _ := strconv.Atoi(stm.Get(to))
		stm.Put(from, strconv.Itoa(have-1))
		stm.Put(to, strconv.Itoa(has+1))
		return nil
	})
	return err
}

func objects(endpoints string, operation string) {
	inFlight, count, accounts := number(3), number(4), number(5)
	var next int64 = -1
	var group sync.WaitGroup
	var handOver []float64
	var released time.Time
	started := time.Now()
	for worker := 0; worker < inFlight; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			client := connect(endpoints)
			defer client.Close()
			var mutex *concurrency.Mutex
			if operation == "lock" {
				session, err := concurrency.NewSession(client)
				if err != nil {
					panic(err)
				}
				defer session.Close()
				mutex = concurrency.NewMutex(session, "lock/")
			}
			for {
				i := int(atomic.AddInt64(&next, 1))
				if i >= count {
					return
				}
				if mutex == nil {
					if err := transfer(client, accounts, i); err != nil {
						panic(err)
					}
					continue
				}
				if err := mutex.Lock(context.Background()); err != nil {
					panic(err)
				}
				// Only the holder is here.
				if !released.IsZero() {
					handOver = append(handOver, float64(time.Since(released).Microseconds())/1000)
				}
				released = time.Now()
				if err := mutex.Unlock(context.Background()); err != nil {
					panic(err)
				}
			}
		}()
	}
	group.Wait()
	result := map[string]float64{"perSecond": float64(count) / time.Since(started).Seconds()}
	if len(handOver) > 0 {
		sort.Float64s(handOver)
		result["p50Ms"] = handOver[len(handOver)/2]
		result["p99Ms"] = handOver[len(handOver)*99/100]
	}
	json.NewEncoder(os.Stdout).Encode(result)
}

func main() {
	endpoints, operation := os.Args[1], os.Args[2]
	if operation == "transfer" || operation == "lock" {
		objects(endpoints, operation)
		return
	}
	if operation == "write" {
		write(endpoints)
		return
	}
	inFlight, count, valueSize, keyCount, connections := number(3), number(4), number(5), number(6), number(7)
	clients := make([]*clientv3.Client, connections)
	for i := range clients {
		clients[i] = connect(endpoints)
		defer clients[i].Close()
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
