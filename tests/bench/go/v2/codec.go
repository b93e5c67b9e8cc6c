// Package v2 is what the benchmark's two programs share of the inference
// protocol: messages as bytes, and the handful of fields that are looked at.
//
// There is no generated code: a program that is to show what a mesh costs
// must itself cost as little as it can.
package v2

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Service is the protocol's only one.
const Service = "inference.GRPCInferenceService"

// Codec hands messages through as they are; they are *[]byte.
type Codec struct{}

func (Codec) Marshal(v any) ([]byte, error) {
	message, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("%T is not a message", v)
	}
	return *message, nil
}

func (Codec) Unmarshal(data []byte, v any) error {
	message, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("%T is not a message", v)
	}
	*message = append([]byte(nil), data...)
	return nil
}

// Name is the content subtype that every gRPC program speaks.
func (Codec) Name() string { return "proto" }

// Text returns the string (or bytes) in a field of a message, "" if it has none.
func Text(message []byte, field protowire.Number) string {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return ""
		}
		message = message[n:]
		if number == field && kind == protowire.BytesType {
			text, m := protowire.ConsumeBytes(message)
			if m < 0 {
				return ""
			}
			return string(text)
		}
		m := protowire.ConsumeFieldValue(number, kind, message)
		if m < 0 {
			return ""
		}
		message = message[m:]
	}
	return ""
}

// AppendText adds a string field to a message.
func AppendText(message []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(message, field, protowire.BytesType), text)
}

// AppendMessage adds a message, or packed numbers, as a field.
func AppendMessage(message []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, field, protowire.BytesType), value)
}

// AppendTrue adds a boolean field that is true.
func AppendTrue(message []byte, field protowire.Number) []byte {
	return protowire.AppendVarint(protowire.AppendTag(message, field, protowire.VarintType), 1)
}
