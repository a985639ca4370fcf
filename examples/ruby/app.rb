# A function that OpenTelemetry's own instrumentation traces; its spans go to the extension at localhost:4318.
# The handler is app.Hello.process.
require "opentelemetry/sdk"
require "opentelemetry/exporter/otlp"
require "opentelemetry/instrumentation/aws_lambda"

OpenTelemetry::SDK.configure { |config| config.use "OpenTelemetry::Instrumentation::AwsLambda" }

class Hello
  extend OpenTelemetry::Instrumentation::AwsLambda::Wrap

  def self.process(event:, context:)
    puts "hello"
    "ok"
  end

  instrument_handler :process
end
