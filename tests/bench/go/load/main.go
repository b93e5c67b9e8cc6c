// load asks models of the v2 protocol as fast as they answer, and prints what
// it measured as JSON.
//
// A closed loop: each caller has a connection of its own, or shares one with
// others, and asks again when it has the answer. Every answer is checked: its status, and the model that
// it says it is from. With -once each model is asked one time, by whichever
// caller is free, and each request's time is printed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"wmlserving/bench/v2"
)

var (
	target   = flag.String("target", "", "host:port")
	message  = flag.String("message", "", "file with a ModelInferRequest, but for the model's name")
	callers  = flag.Int("callers", 1, "how many ask at once")
	shared   = flag.Int("connections", 0, "that the callers share; 0: one for each")
	named    = flag.Bool("metadata", false, "name the model in metadata mm-vmodel-id, too")
	warmUp   = flag.Duration("warm-up", 500*time.Millisecond, "asked before it counts")
	duration = flag.Duration("duration", 2*time.Second, "asked while it counts")
	once     = flag.Bool("once", false, "ask each model one time")
	timeout  = flag.Duration("timeout", time.Minute, "of a request")
	watched  = flag.String("watch", "", "processes whose CPU time is measured: pids, with commas between")
)

const path = "/" + v2.Service + "/ModelInfer"

// question is a request that is ready to be sent.
type question struct {
	model   string
	message []byte
	context context.Context
}

func questions(models []string, rest []byte) []question {
	var found []question
	for _, model := range models {
		ctx := context.Background()
		if *named {
			ctx = metadata.AppendToOutgoingContext(ctx, "mm-vmodel-id", model)
		}
		found = append(found, question{model, append(v2.AppendText(nil, 1, model), rest...), ctx})
	}
	return found
}

// ask sends one request and returns how long its answer took; 0 if it was not the right one.
func ask(connection *grpc.ClientConn, asked question, seen *tally) time.Duration {
	ctx, cancel := context.WithTimeout(asked.context, *timeout)
	defer cancel()
	var answer []byte
	begun := time.Now()
	err := connection.Invoke(ctx, path, &asked.message, &answer)
	took := time.Since(begun)
	if err != nil {
		seen.fail(status.Code(err).String(), status.Convert(err).Message())
		return 0
	}
	if from := v2.Text(answer, 1); from != asked.model {
		seen.fail("WRONG", fmt.Sprintf("%q answered for %q", from, asked.model))
		return 0
	}
	return took
}

// loop asks until told to stop; what ends while counting is recorded.
func loop(connection *grpc.ClientConn, asked []question, first int, counting, stopped *atomic.Bool, seen *tally) {
	for turn := first; !stopped.Load(); turn++ {
		counted := counting.Load()
		took := ask(connection, asked[turn%len(asked)], seen)
		if took > 0 && counted && counting.Load() {
			seen.latencies = append(seen.latencies, took)
		}
	}
}

func measureLoop(connections []*grpc.ClientConn, asked []question, pids []int) (result, error) {
	tallies := make([]tally, len(connections))
	var counting, stopped atomic.Bool
	var group sync.WaitGroup
	for number, connection := range connections {
		group.Go(func() { loop(connection, asked, number, &counting, &stopped, &tallies[number]) })
	}
	time.Sleep(*warmUp)
	before, err := cpuOf(pids)
	if err != nil {
		return result{}, err
	}
	begun := time.Now()
	counting.Store(true)
	time.Sleep(*duration)
	counting.Store(false)
	elapsed := time.Since(begun)
	after, err := cpuOf(pids)
	if err != nil {
		return result{}, err
	}
	stopped.Store(true)
	group.Wait()
	return spent(summarize(tallies, elapsed), before, after), nil
}

func measureOnce(connections []*grpc.ClientConn, asked []question, pids []int) (result, error) {
	tallies := make([]tally, len(connections))
	before, err := cpuOf(pids)
	if err != nil {
		return result{}, err
	}
	waiting := make(chan question, len(asked))
	for _, each := range asked {
		waiting <- each
	}
	close(waiting)
	var lock sync.Mutex
	var each []sample
	var group sync.WaitGroup
	begun := time.Now()
	for number, connection := range connections {
		group.Go(func() {
			for question := range waiting {
				took := ask(connection, question, &tallies[number])
				if took > 0 {
					tallies[number].latencies = append(tallies[number].latencies, took)
					lock.Lock()
					each = append(each, sample{question.model, ms(took)})
					lock.Unlock()
				}
			}
		})
	}
	group.Wait()
	elapsed := time.Since(begun)
	after, err := cpuOf(pids)
	if err != nil {
		return result{}, err
	}
	out := spent(summarize(tallies, elapsed), before, after)
	out.Each = each
	return out, nil
}

func spent(out result, before, after map[int]float64) result {
	out.CPU = map[int]float64{}
	for pid, seconds := range after {
		out.CPU[pid] = seconds - before[pid]
	}
	return out
}

// connect returns a connection that is up: its making is no request's time.
func connect() (*grpc.ClientConn, error) {
	connection, err := grpc.NewClient(
		"passthrough:///"+*target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(v2.Codec{})),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	var answer, request []byte
	if err := connection.Invoke(ctx, "/"+v2.Service+"/ServerLive", &request, &answer); err != nil {
		return nil, err
	}
	return connection, nil
}

// models are the arguments, or where there are none the lines of standard input.
func models() ([]string, error) {
	if flag.NArg() > 0 {
		return flag.Args(), nil
	}
	var found []string
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		found = append(found, lines.Text())
	}
	return found, lines.Err()
}

func run() error {
	flag.Parse()
	names, err := models()
	if err != nil {
		return err
	}
	rest, err := os.ReadFile(*message)
	if err != nil {
		return err
	}
	var pids []int
	for _, word := range strings.FieldsFunc(*watched, func(r rune) bool { return r == ',' }) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	// The connection of each caller.
	connections := make([]*grpc.ClientConn, *callers)
	for number := range connections {
		if *shared > 0 && number >= *shared {
			connections[number] = connections[number%*shared]
		} else if connections[number], err = connect(); err != nil {
			return err
		}
	}
	measure := measureLoop
	if *once {
		measure = measureOnce
	}
	measured, err := measure(connections, questions(names, rest), pids)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(measured)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
