// Search in pages that are opened as files: browsers allow no Worker there, so its script runs in a hidden frame.
"use strict";
(() => {
  if (location.protocol !== "file:") return;

  class FrameWorker extends EventTarget {
    constructor(url) {
      super();
      this.waiting = []; // messages for the script, until it has loaded
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const page = this.frame.contentDocument;
      const script = page.createElement("script");
      script.src = new URL(url, location.href).href;
      this.frame.contentWindow.postMessage = (data) => {
        this.dispatchEvent(new MessageEvent("message", { data }));
      };
      script.addEventListener("load", () => {
        this.waiting.forEach((data) => this.send(data));
        this.waiting = null;
      });
      page.body.append(script);
    }

    send(data) {
      const frame = this.frame.contentWindow;
      frame.dispatchEvent(new frame.MessageEvent("message", { data }));
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.send(data);
    }

    terminate() {
      this.frame.remove();
    }
  }

  window.IFrameWorker = FrameWorker;
  window.Worker = FrameWorker;
})();
