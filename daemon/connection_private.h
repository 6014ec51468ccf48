/* What the two halves of a connection know of each other: connection.c its life and its replies, connection_input.c
 * its requests. */
#pragma once

#include "connection.h"

/* Requests of it may be run now. */
bool connection_listens(const struct connection *connection);

/* Sends what was encoded for it once that is as much as may be in flight. */
void connection_pace(struct connection *connection);

/* A whole frame, or one that is wrong already, was received and not run. */
bool connection_has_request(const struct connection *connection);

/* Brings what the loop watches in line with the state; the end of whatever happened to a connection. */
void connection_settle(struct connection *connection);

/* Sends what waits, as far as the socket takes it. */
void connection_send_waiting(struct connection *connection);

/* To the worker that it moves to, with what was received and not run. */
void connection_hand_over(struct connection *connection);

/* Its socket, and the end of its process. */
void connection_on_socket(struct poller_socket *socket, uint32_t events);
void connection_on_process(struct poller_socket *process, uint32_t events);
