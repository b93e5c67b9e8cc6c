package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"sync"
)

// repository is the models that are loaded, and the directory that they come from.
type repository struct {
	root string
	// Name → token of what was loaded.
	loaded sync.Map
}

// settings is what is read of a model-settings.json.
type settings struct {
	Parameters struct {
		URI string `json:"uri"`
	} `json:"parameters"`
}

// load reads the model's files, as a server does, and remembers what they were.
func (r *repository) load(name string) error {
	text, err := os.ReadFile(filepath.Join(r.root, filepath.Base(name), "model-settings.json"))
	if err != nil {
		return err
	}
	var found settings
	if err := json.Unmarshal(text, &found); err != nil {
		return err
	}
	model, err := os.ReadFile(found.Parameters.URI)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(model)
	r.loaded.Store(name, hex.EncodeToString(digest[:6]))
	return nil
}

// unload says whether there was such a model.
func (r *repository) unload(name string) bool {
	_, there := r.loaded.LoadAndDelete(name)
	return there
}

// token tells one content of a model from another; false if it is not loaded.
func (r *repository) token(name string) (string, bool) {
	found, there := r.loaded.Load(name)
	if !there {
		return "", false
	}
	token, _ := found.(string)
	return token, true
}

func (r *repository) names() []string {
	var names []string
	r.loaded.Range(func(name, _ any) bool {
		text, _ := name.(string)
		names = append(names, text)
		return true
	})
	sort.Strings(names)
	return names
}
