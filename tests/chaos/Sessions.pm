# Many sessions of psql at once, run from one process. Each gets a job, some lines of SQL, and reports when
# the job is done. A session that loses its server connects again by itself.

package Sessions;

use strict;
use warnings;

use IO::Select;
use IPC::Open3;
use Time::HiRes qw(time);

# Seconds after which a session that cannot connect tries again.
my $RETRY = 0.1;

my ($psql, $sockets, $serial) = ('', '', 0);
my $select = IO::Select->new;
my %by_handle;

# Where the server is: the program psql, and the folder of the server's socket.
sub server
{
	($psql, $sockets) = @_;
	$SIG{PIPE} = 'IGNORE';
	return;
}

# A session of this name, which pg_stat_activity shows. When the session is idle, `next` is called for a job,
# if there is one. `finished` is called after every job.
sub new
{
	my ($class, $name, %options) = @_;
	my $self = bless {
		name     => $name,
		next     => $options{next} || sub { return },
		finished => $options{finished},
		buffer   => '',
		queue    => [],
		down_at  => time,
		retry_at => 0,
	}, $class;
	return $self;
}

# Adds a job to be done before any other: { kind, sql, ... }. A job that is done has `lines`, what the server
# returned; `errors`, each [SQLSTATE, message]; and `lost` if the connection broke before its end.
sub enqueue
{
	my ($self, $job) = @_;
	push @{ $self->{queue} }, $job;
	return $job;
}

sub is_idle { my ($self) = @_; return !$self->{job} && !@{ $self->{queue} } }

# Seconds that the session has been without a connection, or has been busy with one job.
sub stuck
{
	my ($self) = @_;
	return time - $self->{down_at} if $self->{down_at};
	return $self->{job} && !$self->{job}{patient} ? time - $self->{job}{began_at} : 0;
}

# Lets sessions connect, gives idle ones their jobs, and handles the server's answers. Waits for these for
# some seconds.
sub pump
{
	my ($seconds, @sessions) = @_;
	for my $self (@sessions)
	{
		$self->connect if !$self->{in} && time >= $self->{retry_at};
		next if !$self->{in} || $self->{job} || $self->{down_at};
		my $job = shift @{ $self->{queue} } || $self->{next}->();
		$self->start($job) if $job;
	}
	$by_handle{$_}->receive for $select->can_read($seconds);
	return;
}

sub connect
{
	my ($self) = @_;
	local %ENV = (
		%ENV,
		PGAPPNAME         => $self->{name},
		PGHOST            => $sockets,
		PGUSER            => 'postgres',
		PGDATABASE        => 'postgres',
		PGCONNECT_TIMEOUT => 10,
		PGCLIENTENCODING  => 'UTF8');
	@{$self}{qw(buffer job marker)} = ('', undef, 'connected');
	$self->{down_at} ||= time;
	# Errors come on the same handle.
	$self->{pid} = open3($self->{in}, $self->{out}, undef, $psql, qw(-X -q -A -t -n));
	$self->{out}->blocking(0);
	$by_handle{ $self->{out} } = $self;
	$select->add($self->{out});
	syswrite $self->{in}, "\\set VERBOSITY verbose\n\\set SHOW_CONTEXT never\nSELECT;\n\\echo $self->{marker}\n";
	return;
}

sub start
{
	my ($self, $job) = @_;
	$serial++;
	@{$job}{qw(session began_at lines errors lost)} = ($self->{name}, time, [], [], 0);
	@{$self}{qw(job marker)} = ($job, "job $serial is done");
	syswrite $self->{in}, "$job->{sql}\n\\echo $self->{marker}\n";
	return;
}

sub receive
{
	my ($self) = @_;
	my $read = sysread $self->{out}, $self->{buffer}, 65536, length $self->{buffer};
	return if !defined $read && $!{EAGAIN};
	while ($self->{buffer} =~ s/^([^\n]*)\n//)
	{
		my $line = $1;
		if ($line eq $self->{marker})
		{
			$self->{down_at} = 0;
			$self->finish;
		}
		elsif (my $job = $self->{job})
		{
			if ($line =~ /^(?:psql:\S+ )?(?:ERROR|FATAL|PANIC):\s+(\w{5}): (.*)/) { push @{ $job->{errors} }, [ $1, $2 ] }
			elsif ($line !~ /^(?:psql|WARNING|NOTICE|DETAIL|HINT|CONTEXT|LOCATION|SCHEMA NAME|TABLE NAME|CONSTRAINT NAME)\b/)
			{
				push @{ $job->{lines} }, $line;
			}
		}
	}
	$self->disconnect unless $read;
	return;
}

sub finish
{
	my ($self) = @_;
	my $job = $self->{job} or return;
	$self->{job} = undef;
	$self->{finished}->($job) if $self->{finished};
	$job->{done}->($job) if $job->{done};
	return;
}

# The connection is gone.
sub disconnect
{
	my ($self) = @_;
	$select->remove($self->{out});
	delete $by_handle{ $self->{out} };
	close $self->{in};
	close $self->{out};
	waitpid $self->{pid}, 0;
	@{$self}{qw(in out retry_at)} = (undef, undef, time + $RETRY);
	$self->{down_at} ||= time;
	$self->{job}{lost} = 1 if $self->{job};
	$self->finish;
	return;
}

1;
