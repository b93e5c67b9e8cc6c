package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// USER_HZ, which Linux fixes for what it shows to programs.
const ticksPerSecond = 100

// cpuSeconds is the time that a process has spent on processors, all its threads together.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name may hold anything; what follows its bracket does not.
	_, rest, found := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	if err != nil {
		return 0, err
	}
	return (user + system) / ticksPerSecond, nil
}

func cpuOf(pids []int) (map[int]float64, error) {
	found := map[int]float64{}
	for _, pid := range pids {
		seconds, err := cpuSeconds(pid)
		if err != nil {
			return nil, err
		}
		found[pid] = seconds
	}
	return found, nil
}
