package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
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
	token, err := digest(found.Parameters.URI)
	if err != nil {
		return err
	}
	r.loaded.Store(name, token)
	return nil
}

// digest is one of the content of a file, or of all files below a directory.
func digest(path string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(path, func(each string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(each)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(sum, file)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:6]), err
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
