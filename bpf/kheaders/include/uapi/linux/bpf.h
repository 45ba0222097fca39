/* BCC includes this file; nothing of it is needed. */
