"""The router's controller: keeps an Envoy, in the same pod, told what a document says.

`document` reads the document, `bootstrap` and `resources` make Envoy's configuration of it, and `controller`
watches the document and the endpoints and hands Envoy every change as files. docs/router.md describes it.
"""
