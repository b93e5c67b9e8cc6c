package main

import (
	"math"
	"slices"
	"time"
)

// tally is what one caller saw while it was measured.
type tally struct {
	latencies []time.Duration
	// Status code, or "WRONG", → how many answers were that.
	errors map[string]int
	// The first of each.
	examples map[string]string
}

func (t *tally) fail(kind, example string) {
	if t.errors == nil {
		t.errors, t.examples = map[string]int{}, map[string]string{}
	}
	t.errors[kind]++
	if _, known := t.examples[kind]; !known {
		t.examples[kind] = example
	}
}

// result is what is printed. Times of requests are milliseconds, of those that were answered.
type result struct {
	Requests int     `json:"requests"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"rate"`
	Mean     float64 `json:"mean_ms"`
	P50      float64 `json:"p50_ms"`
	P90      float64 `json:"p90_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	// In the order in which they ended; only of models asked once.
	Each     []sample          `json:"each,omitempty"`
	Errors   map[string]int    `json:"errors"`
	Examples map[string]string `json:"examples"`
	// CPU seconds of each process that was watched.
	CPU map[int]float64 `json:"cpu_s"`
}

type sample struct {
	Model string  `json:"model"`
	Ms    float64 `json:"ms"`
}

func summarize(tallies []tally, elapsed time.Duration) result {
	out := result{Seconds: elapsed.Seconds(), Errors: map[string]int{}, Examples: map[string]string{}}
	var all []time.Duration
	for _, each := range tallies {
		all = append(all, each.latencies...)
		for kind, count := range each.errors {
			out.Errors[kind] += count
			out.Examples[kind] = each.examples[kind]
		}
	}
	out.Requests = len(all)
	out.Rate = float64(len(all)) / elapsed.Seconds()
	if len(all) == 0 {
		return out
	}
	slices.Sort(all)
	var sum time.Duration
	for _, each := range all {
		sum += each
	}
	out.Mean = ms(sum) / float64(len(all))
	out.P50, out.P90, out.P99 = ms(quantile(all, 0.5)), ms(quantile(all, 0.9)), ms(quantile(all, 0.99))
	out.Max = ms(all[len(all)-1])
	return out
}

// quantile is the smallest of the sorted values that at least that share does not exceed.
func quantile(sorted []time.Duration, share float64) time.Duration {
	rank := int(math.Ceil(share * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
