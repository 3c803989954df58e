// Command echobot is an account that answers every message with the same text: an example of the Go SDK.
//
//	echobot http://127.0.0.1:8080 echo.db echobot 'the password of the bot'
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/e2ee"
)

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: echobot SERVER STATE NAME PASSWORD")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, server, state, name, password string) error {
	store, err := sqlitestore.Open(state)
	if err != nil {
		return err
	}
	c, err := client.Open(client.Options{Server: server, Store: store})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, signedIn := c.Account(); !signedIn {
		code, err := c.Register(ctx, client.RegisterOptions{Username: name, Password: password, DeviceName: "echobot"})
		if err != nil {
			return err
		}
		fmt.Println("recovery code:", code)
	}
	events := c.Events()
	go func() {
		for e := range events.C {
			if e.Type != client.EventMessage || e.Message.Own || e.Message.Text() == "" {
				continue
			}
			if err := c.Accept(ctx, e.Message.Conversation); err != nil {
				log.Print(err)
			} else if _, err := c.Send(ctx, e.Message.Conversation, e2ee.TextBody(e.Message.Text())); err != nil {
				log.Print(err)
			}
		}
	}()
	return c.Run(ctx)
}
